//! States of scans: taken from tensors, left as tensors.

use super::given::{Given, Wanted};
use crate::exit::Exit;
use crate::{load, output};
use ogive_graph::AxisId;
use ogive_graph::stream::RESET;
use ogive_lang::hir::Program;
use ogive_lang::lower::states::{self, Carried, PREV};
use ogive_lang::lower::{self, Listed, Lowered};
use ogive_lang::syntax::BlockKind;
use ogive_lang::{Diagnostics, Settings, Spec, elaborate};

/// Sizes that are tried for dims without one, to learn what states there are: a spec may divide them.
const SIZES: [u64; 4] = [48, 64, 60, 7];

/// The dim whose scans or shifts go on: the one asked for, else the only one that there is.
fn along(program: &Program, asked: Option<&str>) -> Result<Option<AxisId>, Exit> {
    let dims = if program.root().kind == BlockKind::Cell { Vec::new() } else { states::scanned(program) };
    let Some(name) = asked else { return Ok(if let [only] = dims[..] { Some(only) } else { None }) };
    let found = dims.iter().find(|a| program.name_of(**a) == name);
    if found.is_none() {
        output::error(format!("--along {name}: `{}` scans along {}", program.name, names(program, &dims)));
        return Err(Exit::Usage);
    }
    Ok(found.copied())
}

fn names(program: &Program, dims: &[AxisId]) -> String {
    let all: Vec<String> = dims.iter().map(|a| format!("`{}`", program.name_of(*a))).collect();
    if all.is_empty() { "no dim".to_owned() } else { all.join(", ") }
}

/// Makes states of the graph inputs and outputs. Gives what the inputs may have besides those of the spec, and the states that start.
pub(super) fn carry(
    asked: Option<&str>,
    program: &Program,
    lowered: &mut Lowered,
    inputs: &Given,
) -> Result<(Wanted, Vec<lower::Binding>), Exit> {
    let cell = program.root().kind == BlockKind::Cell;
    let needed = inputs.has(RESET) || (!cell && inputs.names(PREV).next().is_some());
    let Some(axis) = along(program, asked)? else {
        if needed {
            let dims = states::scanned(program);
            let more = if dims.len() > 1 { ": --along DIM says along which" } else { "; only those of scans and shifts are carried on" };
            output::error(format!("the inputs have states or resets, and `{}` scans along {}{more}", program.name, names(program, &dims)));
            return Err(Exit::Usage);
        }
        return Ok((Vec::new(), Vec::new()));
    };
    let reset = inputs.has(RESET);
    let carried = match states::carry(program, lowered, axis, &|name| inputs.has(name), reset) {
        Ok(carried) => carried,
        Err(obstacle) if needed || asked.is_some() => {
            load::report(&mut Diagnostics { list: vec![states::not_carried(program, &obstacle)] }, &program.sources);
            return Err(Exit::Spec);
        }
        Err(_) => return Ok((Vec::new(), Vec::new())),
    };
    let (given, started): (Vec<_>, Vec<_>) = carried.into_iter().map(|c| c.prev).partition(|prev| inputs.has(&prev.name));
    let marks = lowered.inputs.iter().filter(|b| b.name == RESET);
    let wanted = marks.chain(&given).map(super::expected).collect();
    Ok((wanted, started))
}

/// What `--list` says of states.
pub(super) struct States {
    /// States before the first position, each with its name after the last.
    pub(super) all: Vec<(Listed, String)>,
    /// The input that marks where they begin anew.
    pub(super) reset: Option<Listed>,
    /// Why there are none, where there might be.
    pub(super) note: Option<String>,
}

/// The states of a program whose dims may have no sizes.
pub(super) fn list(spec: &Spec, program: &Program, settings: &Settings, asked: Option<&str>) -> Result<States, Exit> {
    let none = |note: Option<String>| States { all: Vec::new(), reset: None, note };
    if program.root().kind == BlockKind::Cell {
        let state = |l: &Listed| l.name.strip_prefix(PREV).map(|n| (l.clone(), n.to_owned()));
        return Ok(States { all: lower::listing(program).inputs.iter().filter_map(state).collect(), reset: None, note: None });
    }
    let Some(axis) = along(program, asked)? else {
        let dims = states::scanned(program);
        let several = || format!("States are carried along one dim: --along picks one of {}.", names(program, &dims));
        return Ok(none((dims.len() > 1).then(several)));
    };
    let dim = program.name_of(axis);
    let Some(sized) = sized(spec, program, settings) else {
        return Ok(none(Some("Give dims and constants values with --set to see the states too.".to_owned())));
    };
    let along = states::scanned(&sized).into_iter().find(|a| sized.name_of(*a) == dim);
    let mut lowered = lower::program(&sized, &lower::Options::default());
    let Some(along) = along else { return Ok(none(None)) };
    let carried: Vec<Carried> = match states::carry(&sized, &mut lowered, along, &|_| false, false) {
        Ok(carried) => carried,
        Err(obstacle) => return Ok(none(Some(format!("States are not carried: line {} has {}.", obstacle.origin.line, obstacle.what)))),
    };
    let open: Vec<&str> = program.axes.iter().filter(|a| a.size.is_none()).map(|a| a.name.as_str()).collect();
    let listed = |c: &Carried| {
        let size = |d: &lower::Dim| (d.name.clone(), (!open.contains(&d.name.as_str())).then_some(d.size));
        let dims = c.prev.dims.iter().map(size).collect();
        (Listed { name: c.prev.name.clone(), dims, dtype: c.prev.dtype, domain: None }, c.last.name.clone())
    };
    let dims = vec![(dim.to_owned(), program.size_of(axis))];
    let reset = Listed { name: RESET.to_owned(), dims, dtype: ogive_graph::DType::Bool, domain: None };
    Ok(States { all: carried.iter().map(listed).collect(), reset: Some(reset), note: None })
}

/// The program with a size for every dim; those that follow from others take what they then have.
fn sized(spec: &Spec, program: &Program, settings: &Settings) -> Option<Program> {
    SIZES.iter().find_map(|size| {
        let mut settings = settings.clone();
        for _ in &program.root().dims {
            let (open, _) = elaborate::open_block(spec, &program.name, &settings);
            let Some(first) = open?.open_dims().first().map(|d| (*d).to_owned()) else { break };
            settings.dims.insert(first, *size);
        }
        elaborate::block(spec, &program.name, &settings).0
    })
}
