//! Machine code of row programs: cranelift compiles loops, addresses, scalars and what is computed together in registers; other tiles go
//! to precompiled primitives.

mod ahead;
mod emit;
mod lanes;
mod layout;
mod nest;
mod runs;
mod tile;
mod together;

use crate::primitives::{Primitives, RandomKey};
use cranelift_codegen::ir::{AbiParam, Signature, UserFuncName, types};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, default_libcall_names};
use ogive_graph::kernel::Rows;
use std::sync::atomic::{AtomicI64, Ordering};

/// What a run gives to every kernel.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Context {
    pub(crate) seed: u64,
    pub(crate) step: u64,
    /// Site of a position that was out of range, plus one; 0 where all was well.
    pub(crate) site: AtomicI64,
    /// That position.
    pub(crate) position: AtomicI64,
}

impl Context {
    /// Notes a position that is out of range.
    pub(crate) fn out_of_range(&self, site: u32, position: i32) {
        self.position.store(i64::from(position), Ordering::Relaxed);
        self.site.store(i64::from(site) + 1, Ordering::Release);
    }
}

/// A compiled row program: arguments, first row, end of rows, scratch, context.
pub(crate) type Entry = unsafe extern "C" fn(*const *mut u8, u64, u64, *mut u8, *const Context);

extern "C" fn out_of_range(context: *const Context, site: i32, position: i32) {
    // Safety: the executor passes its own context, which outlives the run.
    unsafe { &*context }.out_of_range(site.cast_unsigned(), position);
}

unsafe extern "C" fn random_key(context: *const Context, site: u64, count: usize, inputs: *const i32, key: *mut RandomKey) {
    // Safety: as above; `inputs` has `count` elements in scratch, `key` has room there.
    unsafe {
        let context = &*context;
        let inputs = if count == 0 { &[] } else { std::slice::from_raw_parts(inputs, count) };
        key.write(RandomKey::new(context.seed, context.step, site, inputs));
    }
}

/// Asks for memory that is read soon.
pub(crate) extern "C" fn prefetch(at: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        for line in (0..bytes).step_by(64) {
            // Safety: a hint; the address need not exist.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line).cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, bytes);
}

/// Asks for memory that is written soon.
pub(crate) extern "C" fn prefetch_to_write(at: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        for line in (0..bytes).step_by(64) {
            // Safety: a hint; the address need not exist.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(at.wrapping_add(line).cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, bytes);
}

/// Compiles row programs into one module.
pub(crate) struct Compiler {
    module: JITModule,
    context: cranelift_codegen::Context,
    builder: FunctionBuilderContext,
    primitives: &'static Primitives,
    functions: Vec<FuncId>,
    listing: Option<String>,
}

/// Machine code; freed when dropped.
pub(crate) struct Code {
    module: Option<JITModule>,
    /// Entry of each program in the order of compilation.
    pub(crate) entries: Vec<Entry>,
}

impl Drop for Code {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // Safety: entries are reachable through this value only, and are never called again.
            unsafe { module.free_memory() };
        }
    }
}

// Safety: code is immutable once finished.
unsafe impl Send for Code {}
// Safety: as above.
unsafe impl Sync for Code {}

fn fault(why: impl std::fmt::Display) -> String {
    format!("code generation: {why}")
}

impl Compiler {
    /// An empty module for this machine.
    pub(crate) fn new(primitives: &'static Primitives) -> Result<Compiler, String> {
        let mut flags = settings::builder();
        for (name, value) in
            [("use_colocated_libcalls", "false"), ("is_pic", "false"), ("opt_level", "speed"), ("enable_verifier", "false")]
        {
            flags.set(name, value).map_err(fault)?;
        }
        let isa = cranelift_native::builder().map_err(fault)?.finish(settings::Flags::new(flags)).map_err(fault)?;
        let module = JITModule::new(JITBuilder::with_isa(isa, default_libcall_names()));
        let context = module.make_context();
        Ok(Compiler { module, context, builder: FunctionBuilderContext::new(), primitives, functions: Vec::new(), listing: None })
    }

    /// Keeps the intermediate form of every function from here on.
    pub(crate) fn list(&mut self) {
        self.listing = Some(String::new());
    }

    /// What was kept.
    pub(crate) fn listing(&mut self) -> String {
        self.listing.take().unwrap_or_default()
    }

    /// Compiles a program; gives its place among the entries and its bytes of scratch.
    pub(crate) fn rows(&mut self, rows: &Rows) -> Result<(usize, u64), String> {
        let layout = layout::arrange(rows);
        let mut signature = Signature::new(self.module.isa().default_call_conv());
        signature.params.extend([types::I64; 5].map(AbiParam::new));
        let id = self.module.declare_function(&format!("rows{}", self.functions.len()), Linkage::Local, &signature).map_err(fault)?;
        self.context.func.signature = signature;
        self.context.func.name = UserFuncName::user(0, id.as_u32());
        let builder = FunctionBuilder::new(&mut self.context.func, &mut self.builder);
        let scratch = emit::function(builder, rows, &layout, self.primitives, self.module.isa())?;
        if let Some(listing) = &mut self.listing {
            listing.push_str(&self.context.func.display().to_string());
        }
        self.module.define_function(id, &mut self.context).map_err(fault)?;
        self.module.clear_context(&mut self.context);
        self.functions.push(id);
        Ok((self.functions.len() - 1, scratch))
    }

    /// Finishes the module.
    pub(crate) fn finish(mut self) -> Result<Code, String> {
        self.module.finalize_definitions().map_err(fault)?;
        let entry = |id: &FuncId| {
            let address = self.module.get_finalized_function(*id);
            // Safety: every function was declared with the signature of `Entry`.
            unsafe { std::mem::transmute::<*const u8, Entry>(address) }
        };
        let entries = self.functions.iter().map(entry).collect();
        Ok(Code { module: Some(self.module), entries })
    }
}
