//! Runs plans: binds tensors, walks the steps, hands chunks of kernels to the pool.

use crate::actions::{Action, Launch, actions, most_args};
use crate::codegen::{Code, Compiler, Context};
use crate::kernels::{Prepared, Scratch};
use crate::pool::Pool;
use crate::primitives::Primitives;
use crate::room::{Room, large_pages};
use ogive_graph::plan::{Place, Plan, PortInfo, Step};
use ogive_graph::{Axis, DType, Graph, Op, Port, pipeline, schedule};
use ogive_runtime::{Backend, Bindings, Data, Dim, Draw, ExecError, Executable, Memory, Options, Store, Tensor, ports};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// The CPU back end.
#[derive(Default)]
pub struct Cpu {
    pool: Mutex<Option<Arc<Pool>>>,
    trace: Option<Arc<Trace>>,
}

/// Times of kernels, numbered on from graph to graph in the order in which graphs are compiled.
#[derive(Default)]
pub struct Trace {
    entries: Mutex<Vec<Timing>>,
}

/// How often a kernel ran, and for how long.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Timing {
    /// Its number in the plan, after the kernels of graphs compiled before.
    pub kernel: usize,
    /// What it computes, in a few words.
    pub title: String,
    /// The instance in the spec that it comes from.
    pub path: String,
    /// The line there, from 1; 0 where there is none.
    pub line: u32,
    /// Multiplications and additions of one launch, where it is a product of matrices.
    pub flops: Option<u64>,
    /// Launches.
    pub calls: u64,
    /// Wall time in all.
    pub nanoseconds: u64,
    /// Processor time of the whole process meanwhile.
    pub busy: u64,
}

/// Processor time of this process in nanoseconds.
pub fn processor_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // Safety: `time` is there to be written.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

impl Trace {
    /// Takes up a plan's kernels; gives the number of the first.
    fn add(&self, plan: &Plan) -> usize {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let first = entries.len();
        entries.extend(plan.kernels.iter().enumerate().map(|(i, k)| Timing {
            kernel: first + i,
            title: k.work.product_sizes().map_or_else(|| k.title.clone(), |sizes| format!("{} {sizes}", k.title)),
            path: k.origin.path.to_string(),
            line: k.origin.line,
            flops: k.work.product_flops(),
            ..Timing::default()
        }));
        first
    }

    fn note(&self, kernel: usize, calls: u64, nanoseconds: u64, busy: u64) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries[kernel].calls += calls;
        entries[kernel].nanoseconds += nanoseconds;
        entries[kernel].busy += busy;
    }

    /// What was noted since the last time this was called.
    pub fn take(&self) -> Vec<Timing> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let out = entries.iter().filter(|t| t.calls > 0).cloned().collect();
        for entry in entries.iter_mut() {
            (entry.calls, entry.nanoseconds, entry.busy) = (0, 0, 0);
        }
        out
    }
}

impl Cpu {
    /// A back end without threads yet; they start with the first graph.
    pub fn new() -> Cpu {
        Cpu::default()
    }

    /// A back end that notes how long each kernel takes.
    pub fn traced(trace: Arc<Trace>) -> Cpu {
        Cpu { trace: Some(trace), ..Cpu::default() }
    }

    fn pool(&self, threads: usize) -> Arc<Pool> {
        let mut held = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some(pool) if pool.threads() == threads => pool.clone(),
            _ => {
                let pool = Arc::new(Pool::new(threads.max(1)));
                *held = Some(pool.clone());
                pool
            }
        }
    }
}

/// The plan that the back end runs for a graph.
///
/// # Errors
/// What no kernel computes.
pub fn plan(graph: &Graph, options: &Options) -> Result<Plan, ExecError> {
    let graph = prepared(graph, options)?;
    schedule::plan(&graph).map_err(|u| ExecError::Unsupported { backend: "cpu", what: u.what, origin: u.origin })
}

/// Cranelift's intermediate form of every row program of a graph, with the kernel that it is for.
///
/// # Errors
/// What no kernel computes.
pub fn code(graph: &Graph, options: &Options) -> Result<String, ExecError> {
    let missing = || ExecError::Internal("no tile primitives for this machine".to_owned());
    let primitives = Primitives::select(None).ok_or_else(missing)?;
    let mut compiler = Compiler::new(primitives).map_err(ExecError::Internal)?;
    let mut out = String::new();
    for (i, kernel) in plan(graph, options)?.kernels.iter().enumerate() {
        out.push_str(&format!("; kernel {i}: {}\n", kernel.title));
        compiler.list();
        Prepared::new(&kernel.work, &mut compiler, primitives).map_err(ExecError::Internal)?;
        out.push_str(&compiler.listing());
        out.push('\n');
    }
    compiler.finish().map_err(ExecError::Internal)?;
    Ok(out)
}

/// The graph after the passes that every back end wants.
fn prepared(graph: &Graph, options: &Options) -> Result<Graph, ExecError> {
    match pipeline::run(graph, &pipeline::backend(options.step_by_step), options.verify) {
        Ok((graph, _)) => Ok(graph),
        Err(failure) => Err(ExecError::Internal(failure.to_string())),
    }
}

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn compile(&self, graph: &Graph, options: &Options) -> Result<Box<dyn Executable>, ExecError> {
        let primitives = Primitives::select(options.isa.as_deref()).ok_or_else(|| {
            let isa = options.isa.as_deref().unwrap_or("any");
            ExecError::Unsupported { backend: "cpu", what: format!("use `{isa}` instructions on this machine"), origin: Default::default() }
        })?;
        let plan = plan(graph, options)?;
        let mut compiler = Compiler::new(primitives).map_err(ExecError::Internal)?;
        let mut kernels = Vec::new();
        for kernel in &plan.kernels {
            let prepared = Prepared::new(&kernel.work, &mut compiler, primitives);
            kernels.push(prepared.map_err(|why| ExecError::Internal(format!("{} ({}): {why}", kernel.title, kernel.origin.path)))?);
        }
        let code = compiler.finish().map_err(ExecError::Internal)?;
        let pool = self.pool(options.threads);
        ogive_runtime::memory::ensure(plan.arena)?;
        Ok(Box::new(Machine::new(graph, plan, code, kernels, pool, self.trace.clone())))
    }
}

#[derive(Clone, Copy, Default)]
struct Counter {
    position: isize,
    odd: bool,
}

/// A plan with its memory.
struct Machine {
    plan: Plan,
    code: Code,
    kernels: Vec<Prepared>,
    actions: Vec<Action>,
    pool: Arc<Pool>,
    axes: Vec<Axis>,
    params: Vec<Port>,
    inputs: Vec<Port>,
    arena: Room,
    scratch: Scratch,
    outputs: Vec<Tensor>,
    bases: Vec<*mut u8>,
    /// Local memory of the workers, and its size for each.
    local: Room,
    each: usize,
    /// What the caller keeps, and what each worker keeps in loops whose iterations are apart.
    main: Hand,
    hands: Vec<Hand>,
    /// With the number of the first kernel.
    trace: Option<(Arc<Trace>, usize)>,
}

/// Most bytes of the next iteration that are asked for while this one is computed.
const NEXT: isize = 1 << 16;

/// What a worker keeps while it walks.
struct Hand {
    arguments: Vec<*mut u8>,
    /// Bytes from each argument to that of the next iteration.
    ahead: Vec<isize>,
    counters: Vec<Counter>,
    /// The innermost loop around, and 1, or -1 where it runs backwards.
    inner: Option<(usize, isize)>,
}

/// Hands of the workers, each used by its own.
#[derive(Clone, Copy)]
struct Hands(*mut Hand);
// Safety: a worker's number is held by one thread at a time.
unsafe impl Sync for Hands {}

impl Hands {
    /// # Safety
    /// `worker` is below the number of threads and held by the caller, who has no other reference to this hand.
    unsafe fn of<'a>(self, worker: usize) -> &'a mut Hand {
        // Safety: the caller's.
        unsafe { &mut *self.0.add(worker) }
    }
}

// Safety: pointers are rebuilt from owned or borrowed tensors at the start of each run.
unsafe impl Send for Machine {}

impl Machine {
    fn new(graph: &Graph, plan: Plan, code: Code, kernels: Vec<Prepared>, pool: Arc<Pool>, trace: Option<Arc<Trace>>) -> Machine {
        let actions = actions(&plan, &plan.steps, &|kernel| kernels[kernel as usize].joins());
        let output = |p: &PortInfo| {
            let mut tensor = Tensor::zeros(p.dtype, dims(p));
            large_pages(&mut tensor.data);
            tensor
        };
        let outputs = plan.outputs.iter().map(output).collect();
        let find = |info: &PortInfo| {
            let ports = graph.region.nodes.iter().filter_map(|n| match &n.op {
                Op::Param(p) | Op::Input(p) => Some(p),
                _ => None,
            });
            let outputs = graph.outputs.iter().map(|o| &o.port);
            ports.chain(outputs).find(|p| p.name == info.name).cloned().unwrap_or(Port { name: info.name.clone(), order: Vec::new() })
        };
        let widest = kernels.iter().map(Prepared::scratch).max().unwrap_or(0);
        let most = most_args(&actions);
        let loops = plan.loops as usize;
        let hand = || Hand {
            arguments: vec![std::ptr::null_mut(); most],
            ahead: vec![0; most],
            counters: vec![Counter::default(); loops],
            inner: None,
        };
        let local = plan.local as usize;
        let trace = trace.map(|trace| {
            let first = trace.add(&plan);
            (trace, first)
        });
        Machine {
            params: plan.params.iter().map(find).collect(),
            inputs: plan.inputs.iter().map(find).collect(),
            arena: Room::new(plan.arena),
            scratch: Scratch::new(pool.threads(), widest),
            outputs,
            bases: vec![std::ptr::null_mut(); plan.buffers.len()],
            local: Room::new(local as u64 * pool.threads() as u64),
            each: local,
            main: hand(),
            hands: (0..pool.threads()).map(|_| hand()).collect(),
            axes: graph.axes.clone(),
            actions,
            plan,
            code,
            kernels,
            pool,
            trace,
        }
    }

    /// Points every buffer at its memory.
    fn bind(&mut self, store: &mut Store, inputs: &Bindings) -> Result<(), ExecError> {
        for (info, port) in self.plan.params.iter().zip(&self.params) {
            match store.tensors.get_mut(&info.name) {
                Some(tensor) if fits(tensor, info) => {}
                Some(_) => {
                    let tensor = ports::accept(&store.tensors, port, info.dtype, &self.axes)?.into_owned();
                    store.tensors.insert(info.name.clone(), tensor);
                }
                None if self.only_written(&info.name) => {
                    store.tensors.insert(info.name.clone(), Tensor::zeros(info.dtype, dims(info)));
                }
                None => {
                    ports::accept(&store.tensors, port, info.dtype, &self.axes)?;
                }
            }
        }
        for (buffer, base) in self.plan.buffers.iter().zip(&mut self.bases) {
            *base = match buffer.place {
                // Safety: the plan's offsets lie within the arena.
                Place::Arena(offset) => unsafe { self.arena.start().add(offset as usize) },
                // Safety: as above, for the first worker's.
                Place::Local(offset) => unsafe { self.local.start().add(offset as usize) },
                Place::Store(i) => {
                    let name = &self.plan.params[i as usize].name;
                    store.tensors.get_mut(name).map_or(std::ptr::null_mut(), |t| pointer(&mut t.data))
                }
                Place::Output(i) => pointer(&mut self.outputs[i as usize].data),
                Place::Input(i) => {
                    let info = &self.plan.inputs[i as usize];
                    match inputs.get(&info.name) {
                        Some(tensor) if fits(tensor, info) => read_pointer(&tensor.data).cast_mut(),
                        _ => std::ptr::null_mut(),
                    }
                }
            };
        }
        Ok(())
    }

    fn only_written(&self, name: &str) -> bool {
        let at = self.plan.params.iter().position(|p| p.name == name).map(|i| Place::Store(i as u32));
        let buffer = self.plan.buffers.iter().position(|b| Some(b.place) == at);
        let kernels = &self.plan.kernels;
        buffer.is_some_and(|b| !reads(&self.plan.steps, kernels, b as u32))
    }
}

fn reads(steps: &[Step], kernels: &[ogive_graph::plan::Kernel], buffer: u32) -> bool {
    steps.iter().any(|step| match step {
        Step::Launch { kernel, args } => {
            args.iter().enumerate().any(|(i, slot)| slot.buffer == buffer && !kernels[*kernel as usize].work.writes(i))
        }
        Step::Loop { body, .. } => reads(body, kernels, buffer),
    })
}

fn dims(info: &PortInfo) -> Vec<Dim> {
    info.dims.iter().map(|(name, size)| Dim { name: name.clone(), size: *size as usize }).collect()
}

/// Whether a tensor is the port's as it stands.
fn fits(tensor: &Tensor, info: &PortInfo) -> bool {
    let same = |(have, want): (&Dim, &(String, u64))| have.size as u64 == want.1 && (have.name.is_empty() || have.name == want.0);
    tensor.dtype() == info.dtype
        && tensor.dims.len() == info.dims.len()
        && tensor.len() as u64 == info.elements()
        && tensor.dims.iter().zip(&info.dims).all(same)
}

fn pointer(data: &mut Data) -> *mut u8 {
    match data {
        Data::F32(v) => v.as_mut_ptr().cast(),
        Data::F64(v) => v.as_mut_ptr().cast(),
        Data::I32(v) => v.as_mut_ptr().cast(),
        Data::Bool(v) => v.as_mut_ptr(),
    }
}

fn read_pointer(data: &Data) -> *const u8 {
    match data {
        Data::F32(v) => v.as_ptr().cast(),
        Data::F64(v) => v.as_ptr().cast(),
        Data::I32(v) => v.as_ptr().cast(),
        Data::Bool(v) => v.as_ptr(),
    }
}

/// What walking the steps needs, apart from the steps themselves.
struct Walk<'a> {
    kernels: &'a [Prepared],
    code: &'a Code,
    pool: &'a Pool,
    scratch: &'a Scratch,
    bases: &'a [*mut u8],
    /// Bytes of a worker's local memory.
    each: usize,
    hands: Hands,
    context: &'a Context,
    trace: Option<(&'a Trace, usize)>,
}

// Safety: bases are read only, and what lies there is shared as the plan says.
unsafe impl Sync for Walk<'_> {}

impl Walk<'_> {
    fn run(&self, actions: &[Action], worker: usize, hand: &mut Hand) {
        for action in actions {
            match action {
                Action::Launch(launch) => self.launch(std::slice::from_ref(launch), worker, hand),
                Action::Together(launches) => self.launch(launches, worker, hand),
                Action::Loop { id, times, apart: true, body, .. } => {
                    let around = hand.counters.as_slice();
                    self.pool.run(*times as usize, &|position, worker| {
                        // Safety: this chunk holds the worker's number, and loops that are apart do not nest.
                        let own = unsafe { self.hands.of(worker) };
                        own.counters.copy_from_slice(around);
                        own.counters[*id] = Counter { position: position as isize, odd: position % 2 == 1 };
                        own.inner = None;
                        self.run(body, worker, own);
                    });
                }
                Action::Loop { id, times, reverse, body, .. } => {
                    let around = hand.inner.replace((*id, if *reverse { -1 } else { 1 }));
                    for i in 0..*times {
                        let position = if *reverse { times - 1 - i } else { i };
                        hand.counters[*id] = Counter { position: position as isize, odd: i % 2 == 1 };
                        self.run(body, worker, hand);
                    }
                    hand.inner = around;
                }
            }
        }
    }

    /// Runs a launch, or several of one kernel.
    fn launch(&self, launches: &[Launch], worker: usize, hand: &mut Hand) {
        let mut count = 0;
        for address in launches.iter().flat_map(|l| &l.args) {
            let mut offset = address.offset;
            hand.ahead[count] = 0;
            for &(id, step) in &address.moves {
                offset += hand.counters[id].position * step;
                if let Some((inner, sign)) = hand.inner
                    && inner == id
                    && !address.asked
                    && step.abs() <= NEXT
                {
                    hand.ahead[count] = sign * step;
                }
            }
            for &(id, step) in &address.flips {
                offset += if hand.counters[id].odd { step } else { 0 };
            }
            if address.local {
                offset += (worker * self.each) as isize;
            }
            hand.arguments[count] = self.bases[address.buffer].wrapping_offset(offset);
            count += 1;
        }
        let kernel = launches[0].kernel;
        let start = self.trace.map(|_| (std::time::Instant::now(), processor_time()));
        self.kernels[kernel].run(&hand.arguments[..count], &hand.ahead[..count], self.code, self.pool, self.scratch, self.context);
        if let (Some((trace, first)), Some((start, before))) = (self.trace, start) {
            trace.note(first + kernel, launches.len() as u64, start.elapsed().as_nanos() as u64, processor_time() - before);
        }
    }
}

impl Executable for Machine {
    fn memory(&self) -> Memory {
        let ports = self.plan.inputs.iter().chain(&self.plan.outputs).map(PortInfo::bytes).sum();
        let store = self.plan.params.iter().map(PortInfo::bytes).sum();
        Memory { arena: self.plan.arena + self.local.bytes(), store, ports, scratch: self.scratch.bytes() }
    }

    fn run(&mut self, store: &mut Store, inputs: &Bindings, draw: Draw) -> Result<(), ExecError> {
        // A tensor that fits only after conversion is converted for this run.
        let converted = convert(&self.plan.inputs, &self.inputs, &self.axes, inputs)?;
        self.bind(store, converted.as_ref().unwrap_or(inputs))?;
        let context = Context { seed: draw.seed, step: draw.step, ..Context::default() };
        let walk = Walk {
            kernels: &self.kernels,
            code: &self.code,
            pool: &self.pool,
            scratch: &self.scratch,
            bases: &self.bases,
            each: self.each,
            hands: Hands(self.hands.as_mut_ptr()),
            context: &context,
            trace: self.trace.as_ref().map(|(trace, first)| (trace.as_ref(), *first)),
        };
        walk.run(&self.actions, 0, &mut self.main);
        match context.site.load(Ordering::Acquire) {
            0 => Ok(()),
            site => {
                let site = &self.plan.sites[site as usize - 1];
                let position = context.position.load(Ordering::Relaxed);
                Err(ExecError::OutOfRange { axis: site.axis.clone(), position, size: site.size, origin: site.origin.clone() })
            }
        }
    }

    fn output(&self, name: &str) -> Option<&Tensor> {
        let at = self.plan.outputs.iter().position(|p| p.name == name)?;
        self.outputs.get(at)
    }
}

/// Checks the given tensors; a copy of the bindings where one must be converted to its port's element type.
fn convert(infos: &[PortInfo], ports: &[Port], axes: &[Axis], inputs: &Bindings) -> Result<Option<Bindings>, ExecError> {
    let mut out = None;
    for (info, port) in infos.iter().zip(ports) {
        if inputs.get(&info.name).is_some_and(|t| fits(t, info)) {
            continue;
        }
        let tensor = ports::accept(inputs, port, info.dtype, axes)?.into_owned();
        out.get_or_insert_with(|| inputs.clone()).insert(info.name.clone(), tensor);
    }
    debug_assert!(infos.iter().all(|i| i.dtype != DType::F64));
    Ok(out)
}
