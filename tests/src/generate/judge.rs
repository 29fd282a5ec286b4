//! One spec in every way: as written, formatted, through the passes, without some of them, with each instruction set, with one thread and
//! with two, in both precisions; values and gradients.

use super::chance::Chance;
use super::tolerance::{Rounding, all_finite};
use super::{imports, training};
use crate::cases::Made;
use crate::check::{self, Results};
use ogive_graph::pipeline::{self, BACKEND, FORWARD, Pass};
use ogive_graph::{DType, Graph};
use ogive_jit::Cpu;
use ogive_jit::primitives::Primitives;
use ogive_lang::lower::{self, Lowered};
use ogive_lang::{Loader, NoImports, Settings, Severity, Spec, elaborate, format};
use ogive_runtime::{Bindings, Data, Dim, Options, Store, Tensor};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Starts the line that says how many examples there are.
pub(super) const BATCH: &str = "// batch: ";

/// Half of the digits of single precision: who loses more of them is not compared.
pub(super) const LOST: f64 = 2e-3;

/// Largest number in a program that is compared.
const LARGEST: f64 = 1e6;

/// Numbers of double precision in units of single precision, with room for sums in another order.
pub(super) const DOUBLE: f64 = 1e-6;

/// What became of a program.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// All ways agree.
    Checked,
    /// It cannot be compared.
    Skipped(String),
    /// Two ways do not agree.
    Failed(Failure),
}

/// What went wrong.
#[derive(Clone, PartialEq, Debug)]
pub struct Failure {
    /// The way that was taken.
    pub stage: String,
    /// In words.
    pub why: String,
}

pub(super) fn failed<T>(stage: impl Into<String>, why: impl Into<String>) -> Result<T, Verdict> {
    Err(Verdict::Failed(Failure { stage: stage.into(), why: why.into() }))
}

/// Runs the block `root` of a spec in every way. Its numbers and the passes that are left out follow from the seed.
pub fn judge(text: &str, root: &str, seed: u64) -> Verdict {
    match catch_unwind(AssertUnwindSafe(|| ways(text, root, seed))) {
        Ok(Ok(())) => Verdict::Checked,
        Ok(Err(verdict)) => verdict,
        Err(payload) => {
            let message = payload.downcast_ref::<String>().cloned().or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
            Verdict::Failed(Failure { stage: "panic".into(), why: message.unwrap_or_default() })
        }
    }
}

fn ways(text: &str, root: &str, seed: u64) -> Result<(), Verdict> {
    let formatted = match format(text) {
        Ok(formatted) => formatted,
        Err(_) => return failed("formatter", "cannot format it"),
    };
    let mut chance = Chance::new(seed ^ 0x6a75_6467);
    let batch = [None, Some(1), Some(2), Some(3)][chance.below(4)];
    let batch = text.lines().find_map(|l| l.strip_prefix(BATCH)?.parse().ok()).or(batch);
    let written = lowered(text, root, DType::F64, batch, &NoImports)?;
    let graph = lowered(&formatted, root, DType::F64, batch, &NoImports)
        .map_err(|_| Verdict::Failed(Failure { stage: "formatter".into(), why: "its text does not check".into() }))?;
    if ogive_graph::text::print_plain(&graph.graph) != ogive_graph::text::print_plain(&written.graph)
        || format(&formatted).ok().as_ref() != Some(&formatted)
    {
        return failed("formatter", "changes the meaning, or its own text");
    }
    if let Some((main, files)) = imports::apart(text, root, &mut chance.clone()) {
        let graph = lowered(&main, root, DType::F64, batch, &files)
            .map_err(|v| Verdict::Failed(Failure { stage: "imports".into(), why: format!("{v:?}\n{main}") }))?;
        if ogive_graph::text::print_plain(&graph.graph) != ogive_graph::text::print_plain(&written.graph) {
            return failed("imports", "change the meaning");
        }
    }
    let double = filled(written, DType::F64, seed);
    let single = filled(lowered(text, root, DType::F32, batch, &NoImports)?, DType::F32, seed);
    let Some((with, with_single)) = both(&double, &single)? else { return Err(Verdict::Skipped("without a float".into())) };
    let interpret = |made: &Made| check::interpret(made).map_err(|why| Verdict::Failed(Failure { stage: "interpreter".into(), why }));
    let exact = merged(interpret(&double)?, interpret(&with)?);
    if !all_finite(&exact) {
        return Err(Verdict::Skipped("with numbers that are none".into()));
    }
    if exact.values().any(|t| t.to_f64().iter().any(|x| x.abs() > LARGEST)) {
        return Err(Verdict::Skipped("with large numbers".into()));
    }
    let near = merged(interpret(&single)?, interpret(&with_single)?);
    let rounding = Rounding::new(&near, &exact);
    if rounding.worst(&exact) > LOST {
        return Err(Verdict::Skipped("near a tie or ill conditioned".into()));
    }
    let case = Case { double, single, with, with_single, exact, rounding, seed };
    case.passes(&mut chance)?;
    case.compiled(&mut chance)?;
    case.slope(text)?;
    case.scans_at_once(text, &mut chance)?;
    case.forward_in_time(text, &mut chance)?;
    training::judge(text, seed)
}

/// A program with its numbers and what it should give.
pub(super) struct Case {
    pub(super) double: Made,
    pub(super) single: Made,
    with: Made,
    with_single: Made,
    pub(super) exact: Results,
    pub(super) rounding: Rounding,
    seed: u64,
}

impl Case {
    /// Passes on the way to the compiler: all, each alone, some in another order; differentiation before and after them.
    fn passes(&self, chance: &mut Chance) -> Result<(), Verdict> {
        let all: Vec<Pass> = FORWARD.iter().chain(BACKEND).copied().collect();
        let one = *chance.one(&all);
        let some: Vec<Pass> = (0..3 + chance.below(8)).map(|_| *chance.one(FORWARD)).collect();
        let prepared = self.after("passes", &self.double, FORWARD)?;
        let differentiated = match check::gradient(&prepared) {
            Ok(Some(with)) => with,
            other => return failed("gradient after passes", format!("{:?}", other.err())),
        };
        let (eager, forward) = (pipeline::eager(), pipeline::eager_forward());
        let by_table = self.after("passes for tables", &self.double, &forward)?;
        let of_table = match check::gradient(&by_table) {
            Ok(Some(with)) => with,
            other => return failed("gradient after passes for tables", format!("{:?}", other.err())),
        };
        let lists: [(&str, &Made, &Made, &[Pass]); 6] = [
            ("all passes, after those for tables", &by_table, &of_table, BACKEND),
            ("all passes", &prepared, &differentiated, BACKEND),
            ("all passes, always", &prepared, &differentiated, &eager),
            ("forward passes", &self.double, &self.with, FORWARD),
            (one.name, &self.double, &self.with, &[one]),
            ("passes in another order", &self.double, &self.with, &some),
        ];
        for (name, forward, with, list) in lists {
            let stage = format!("pass {name}");
            let (forward, with) = (self.after(&stage, forward, list)?, self.after(&stage, with, list)?);
            let run = |made: &Made| check::interpret(made).map_err(|why| Verdict::Failed(Failure { stage: stage.clone(), why }));
            let found = merged(run(&forward)?, run(&with)?);
            self.agrees(&stage, &found, DOUBLE)?;
        }
        Ok(())
    }

    fn after(&self, stage: &str, made: &Made, passes: &[Pass]) -> Result<Made, Verdict> {
        match pipeline::run(&made.graph, passes, true) {
            Ok((graph, _)) => Ok(Made { graph, ..made.clone() }),
            Err(failure) => failed(stage, failure.to_string()),
        }
    }

    /// The CPU back end, with each instruction set, after the passes and without them.
    fn compiled(&self, chance: &mut Chance) -> Result<(), Verdict> {
        let sets: Vec<&str> = Primitives::all().map(Primitives::name).collect();
        let prepared = self.after("passes", &self.single, FORWARD)?;
        let differentiated = match check::gradient(&prepared) {
            Ok(Some(with)) => with,
            other => return failed("gradient after passes", format!("{:?}", other.err())),
        };
        let bare = chance.below(sets.len());
        for (i, isa) in sets.iter().enumerate() {
            let (forward, with, name) =
                if i == bare { (&self.single, &self.with_single, ", no passes before") } else { (&prepared, &differentiated, "") };
            let stage = format!("cpu {isa}{name}");
            let found = merged(cpu(&stage, forward, isa, 1)?, cpu(&stage, with, isa, 1)?);
            self.agrees(&stage, &found, 1.0)?;
            if i == bare {
                let twice = merged(cpu(&stage, forward, isa, 2)?, cpu(&stage, with, isa, 2)?);
                if !check::same_bits(&found, &twice) {
                    return failed("two threads", "give other bits");
                }
            }
        }
        Ok(())
    }

    pub(super) fn failure(&self, stage: &str, why: String) -> Verdict {
        Verdict::Failed(Failure { stage: stage.to_owned(), why })
    }

    /// Holds results of a graph against what they should be, and where they are off, against what inputs that are moved a little give.
    pub(super) fn holds(
        &self,
        stage: &str,
        rounding: &Rounding,
        exact: &Results,
        found: &Results,
        unit: f64,
        double: &Made,
    ) -> Result<(), Verdict> {
        let Err(why) = rounding.apart(found, exact, unit) else { return Ok(()) };
        let mut chance = Chance::new(self.seed ^ 0x7469_6573);
        let moves = |scale: f64| {
            let moved = check::interpret(&nudged(double, scale * unit.sqrt(), &mut chance));
            moved.is_ok_and(|moved| rounding.apart(&moved, exact, unit).is_err())
        };
        if [1e-8, 6e-8, 3e-7, 1e-6].into_iter().flat_map(|s| [s; 4]).any(moves) {
            return Err(Verdict::Skipped("near a tie or ill conditioned".into()));
        }
        failed(stage, why)
    }

    /// Holds results against what they should be. Where inputs that are moved by less than single precision tells apart move the result as
    /// far as it is off, the program is near a tie.
    fn agrees(&self, stage: &str, found: &Results, unit: f64) -> Result<(), Verdict> {
        let Err(why) = self.rounding.apart(found, &self.exact, unit) else { return Ok(()) };
        let mut chance = Chance::new(self.seed ^ 0x7469_6573);
        for scale in [1e-8, 6e-8, 3e-7, 1e-6] {
            for _ in 0..4 {
                let moved = [&self.double, &self.with].map(|made| check::interpret(&nudged(made, scale * unit.sqrt(), &mut chance)));
                let [Ok(a), Ok(b)] = moved else { continue };
                if self.rounding.apart(&merged(a, b), &self.exact, unit).is_err() {
                    return Err(Verdict::Skipped("near a tie or ill conditioned".into()));
                }
            }
        }
        failed(stage, why)
    }

    /// The gradient against the slope of the loss along one direction.
    fn slope(&self, text: &str) -> Result<(), Verdict> {
        if ["stop_gradient", "floor(", "sinkhorn"].iter().any(|w| text.contains(w)) {
            return Ok(());
        }
        let mut chance = Chance::new(self.seed ^ 0x736c_6f70);
        let direction: Vec<(String, Vec<f64>)> = tensors(&self.double)
            .filter(|(_, t)| t.dtype().is_float())
            .map(|(n, t)| (n.clone(), (0..t.len()).map(|_| chance.normal()).collect()))
            .collect();
        let loss = |step: f64| {
            let mut made = self.with.clone();
            made.graph.outputs.retain(|o| o.port.name == "loss");
            for (name, along) in &direction {
                let tensor = made.inputs.get_mut(name).or_else(|| made.store.tensors.get_mut(name));
                if let Some(Tensor { data: Data::F64(x), .. }) = tensor {
                    x.iter_mut().zip(along).for_each(|(x, d)| *x += step * d);
                }
            }
            check::interpret(&made).ok().and_then(|r| r.get("loss").map(|t| t.to_f64()[0]))
        };
        let slope = |h: f64| Some((loss(h)? - loss(-h)?) / (2.0 * h));
        let [Some(a), Some(b), Some(c)] = [1e-4, 3e-5, 1e-5].map(slope) else { return Ok(()) };
        let scale = direction
            .iter()
            .filter_map(|(n, d)| Some((d, self.exact.get(&format!("grad {n}"))?.to_f64())))
            .flat_map(|(d, g)| d.iter().zip(g).map(|(d, g)| d * g).collect::<Vec<_>>());
        let (sum, size) = scale.fold((0.0, 0.0), |(s, m), x| (s + x, m + f64::abs(x)));
        // a kink or a jump in between shows as slopes that do not agree
        let spread = (a - b).abs().max((b - c).abs());
        let unit = 1e-3 * size.max(1e-3);
        if spread > 0.1 * unit || (sum - c).abs() <= unit.max(10.0 * spread) {
            return Ok(());
        }
        failed("gradient", format!("along a direction it is {sum:e}, where the loss has slope {c:e} ({a:e} and {b:e} with longer steps)"))
    }
}

fn tensors(made: &Made) -> impl Iterator<Item = (&String, &Tensor)> {
    made.inputs.iter().chain(&made.store.tensors)
}

pub(super) fn nudged(made: &Made, scale: f64, chance: &mut Chance) -> Made {
    let mut made = made.clone();
    for tensor in made.inputs.values_mut().chain(made.store.tensors.values_mut()) {
        if let Data::F64(x) = &mut tensor.data {
            x.iter_mut().for_each(|x| *x += scale * (0.1 + x.abs()) * chance.normal());
        }
    }
    made
}

pub(super) fn cpu(stage: &str, made: &Made, isa: &str, threads: usize) -> Result<Results, Verdict> {
    let options = Options { threads, verify: true, isa: Some(isa.to_owned()), ..Options::default() };
    check::run(&Cpu::new(), made, &options).map_err(|why| Verdict::Failed(Failure { stage: stage.to_owned(), why }))
}

fn merged(mut a: Results, b: Results) -> Results {
    a.extend(b);
    a
}

/// The graphs with gradients, in both precisions.
fn both(double: &Made, single: &Made) -> Result<Option<(Made, Made)>, Verdict> {
    match (check::gradient(double), check::gradient(single)) {
        (Ok(Some(d)), Ok(Some(s))) => Ok(Some((d, s))),
        (Ok(None), _) | (_, Ok(None)) => Ok(None),
        (Err(why), _) | (_, Err(why)) => failed("differentiation", why),
    }
}

fn lowered(text: &str, root: &str, dtype: DType, batch: Option<u64>, loader: &dyn Loader) -> Result<Lowered, Verdict> {
    let (spec, found) = Spec::load("generated.arch", text.to_owned(), loader);
    let errors = |found: &ogive_lang::Diagnostics| {
        let list = found.list.iter().filter(|d| d.severity == Severity::Error);
        list.map(|d| format!("{}: {}", d.code, d.message)).collect::<Vec<_>>().join("; ")
    };
    let first = |found: &ogive_lang::Diagnostics| found.list.iter().find(|d| d.severity == Severity::Error).map_or("", |d| d.code);
    if found.has_errors() {
        return failed(format!("parser {}", first(&found)), errors(&found));
    }
    let (program, found) = elaborate::block(&spec, root, &Settings { training: true, ..Settings::default() });
    let Some(program) = program else { return failed(format!("checker {}", first(&found)), errors(&found)) };
    let lowered = lower::program(&program, &lower::Options { dtype, batch, taps: true });
    let graph: &Graph = &lowered.graph;
    if let Err(why) = check::sound(graph) {
        return failed("lowering", why);
    }
    Ok(lowered)
}

/// Numbers for every port, which single precision holds exactly.
fn filled(lowered: Lowered, dtype: DType, seed: u64) -> Made {
    let mut chance = Chance::new(seed ^ 0x6e75_6d62);
    let (mut inputs, mut store) = (Bindings::new(), Store::default());
    let dims = |dims: &[lower::Dim]| dims.iter().map(|d| Dim { name: d.name.clone(), size: d.size as usize }).collect::<Vec<_>>();
    let mut floats = |count: usize| Data::F64((0..count).map(|_| f64::from((0.7 * chance.normal()) as f32)).collect());
    for input in &lowered.inputs {
        let dims = dims(&input.dims);
        let count: usize = dims.iter().map(|d| d.size).product();
        let tensor = match input.dtype {
            DType::I32 => {
                let below = input.domain.as_ref().map_or(2, |d| d.size);
                let Data::F64(x) = floats(count) else { continue };
                Tensor { dims, data: Data::I32(x.iter().map(|x| ((x.abs() * 1e6) as u64 % below) as i32).collect()) }
            }
            DType::Bool => {
                let Data::F64(x) = floats(count) else { continue };
                Tensor { dims, data: Data::Bool(x.iter().map(|x| u8::from(*x > 0.0)).collect()) }
            }
            DType::F32 | DType::F64 => Tensor { dims, data: floats(count) }.cast(dtype),
        };
        inputs.insert(input.name.clone(), tensor);
    }
    for param in &lowered.params {
        let tensor = Tensor { dims: dims(&param.dims), data: floats(param.elements() as usize) }.cast(dtype);
        store.tensors.insert(param.name.clone(), tensor);
    }
    Made { graph: lowered.graph, inputs, store }
}
