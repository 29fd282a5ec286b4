//! First values of a run's store: parameters from their initialisers, optimiser state from zeros or copies.

use crate::optimizer::{Kept, State};
use ogive_graph::DType;
use ogive_lang::hir::InitKind;
use ogive_lang::lower::Parameter;
use ogive_runtime::init::{Init, Kind};
use ogive_runtime::{Dim, Store, Tensor};

/// The parameters of a model, a function of names, sizes, initialisers and seed.
pub fn parameters(params: &[Parameter], seed: u64, dtype: DType) -> Store {
    let mut store = Store::default();
    for param in params {
        let kind = match param.init.kind {
            InitKind::Constant(c) => Kind::Constant(c),
            InitKind::Normal { std } => Kind::Normal { std },
            InitKind::TruncatedNormal { std } => Kind::TruncatedNormal { std },
            InitKind::Uniform { lo, hi } => Kind::Uniform { lo, hi },
        };
        let equal_norms = param.init.equal_norms.iter().map(|dim| dim + param.stacked).collect();
        let init = Init { kind, equal_norms, stacks: param.stacked };
        store.tensors.insert(param.name.clone(), init.fill(&param.name, dims(param), seed).cast(dtype));
    }
    store
}

/// Adds the optimiser's tensors to a store that holds the parameters.
pub fn states(store: &mut Store, params: &[Parameter], states: &[State], dtype: DType) {
    for state in states {
        let param = state.of.as_ref().and_then(|name| params.iter().find(|p| p.name == *name));
        let copied = state.of.as_ref().filter(|_| state.copy).and_then(|name| store.tensors.get(name)).cloned();
        let tensor = copied.unwrap_or_else(|| Tensor::zeros(dtype, param.map_or_else(Vec::new, dims)));
        store.tensors.insert(state.name.clone(), tensor);
    }
}

/// Adds what streams leave behind, before the first segment: zeros, which the reset of that segment keeps from being read.
pub fn kept(store: &mut Store, kept: &[Kept]) {
    store.tensors.extend(kept.iter().map(|k| (k.name.clone(), Tensor::zeros(k.dtype, k.dims.clone()))));
}

/// Dims of a parameter's tensor.
pub fn dims(param: &Parameter) -> Vec<Dim> {
    param.dims.iter().map(|d| Dim { name: d.name.clone(), size: usize::try_from(d.size).unwrap_or(usize::MAX) }).collect()
}
