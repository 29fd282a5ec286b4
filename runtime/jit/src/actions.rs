//! A plan's steps as the executor walks them: addresses worked out as far as they are fixed, independent launches of one kernel as one.

use ogive_graph::plan::{Place, Plan, Slot, Step};
use std::collections::BTreeSet;

/// A launch with its addresses worked out as far as they are fixed.
pub(crate) struct Launch {
    pub(crate) kernel: usize,
    pub(crate) args: Vec<Address>,
}

pub(crate) struct Address {
    pub(crate) buffer: usize,
    pub(crate) offset: isize,
    /// Loop and bytes per position.
    pub(crate) moves: Vec<(usize, isize)>,
    /// Whether it is in the worker's local memory.
    pub(crate) local: bool,
    /// Loop and bytes in odd iterations.
    pub(crate) flips: Vec<(usize, isize)>,
    /// Whether an earlier launch of the same loop has it, and asks for the next iteration's.
    pub(crate) asked: bool,
}

pub(crate) enum Action {
    Launch(Launch),
    /// Independent launches of one kernel, as one.
    Together(Vec<Launch>),
    Loop {
        id: usize,
        times: u64,
        reverse: bool,
        apart: bool,
        body: Vec<Action>,
    },
}

/// The actions of steps; launches of a kernel that `joins` are joined where they are independent.
pub(crate) fn actions(plan: &Plan, steps: &[Step], joins: &dyn Fn(u32) -> bool) -> Vec<Action> {
    let address = |slot: &Slot| {
        let unit = plan.buffers[slot.buffer as usize].dtype.bytes() as i64;
        let scaled = |list: &[(u32, i64)]| list.iter().map(|&(id, s)| (id as usize, (s * unit) as isize)).collect();
        Address {
            buffer: slot.buffer as usize,
            offset: (slot.offset * unit) as isize,
            local: matches!(plan.buffers[slot.buffer as usize].place, Place::Local(_)),
            moves: scaled(&slot.moves),
            flips: scaled(&slot.flips),
            asked: false,
        }
    };
    let mut out = Vec::new();
    let mut at = 0;
    while at < steps.len() {
        let together = independent(plan, &steps[at..], joins);
        let launch = |step: &Step| match step {
            Step::Launch { kernel, args } => Some(Launch { kernel: *kernel as usize, args: args.iter().map(address).collect() }),
            Step::Loop { .. } => None,
        };
        out.push(match &steps[at] {
            Step::Loop { id, times, reverse, apart, body } => {
                let mut body = actions(plan, body, joins);
                ask_once(&mut body, joins);
                Action::Loop { id: *id as usize, times: *times, reverse: *reverse, apart: *apart, body }
            }
            Step::Launch { .. } => {
                let mut list: Vec<Launch> = steps[at..at + together].iter().filter_map(launch).collect();
                if list.len() == 1 { Action::Launch(list.remove(0)) } else { Action::Together(list) }
            }
        });
        at += together;
    }
    out
}

/// Leaves it to the first launch of a body that looks ahead to ask for what several read.
fn ask_once(body: &mut [Action], joins: &dyn Fn(u32) -> bool) {
    let mut seen = BTreeSet::new();
    for action in body {
        let launches = match action {
            Action::Launch(launch) => std::slice::from_mut(launch),
            Action::Together(list) => list.as_mut_slice(),
            Action::Loop { .. } => continue,
        };
        for launch in launches.iter_mut().filter(|l| joins(l.kernel as u32)) {
            for address in &mut launch.args {
                address.asked = !seen.insert((address.buffer, address.offset, address.moves.clone()));
            }
        }
    }
}

/// Most launches that are joined.
const JOINED: usize = 8;

/// How many of the first steps are launches of one kernel that joins, none of which writes what another touches; at least 1.
fn independent(plan: &Plan, steps: &[Step], joins: &dyn Fn(u32) -> bool) -> usize {
    let launch = |step: &Step| match step {
        Step::Launch { kernel, args } if joins(*kernel) => Some((*kernel, args.clone())),
        _ => None,
    };
    let Some((kernel, first)) = steps.first().and_then(launch) else { return 1 };
    let work = &plan.kernels[kernel as usize].work;
    let meet = |a: &Slot, b: &Slot| {
        let (a, b) = (&plan.buffers[a.buffer as usize], &plan.buffers[b.buffer as usize]);
        match (a.place, b.place) {
            (Place::Arena(x), Place::Arena(y)) | (Place::Local(x), Place::Local(y)) => x < y + b.bytes() && y < x + a.bytes(),
            (x, y) => x == y,
        }
    };
    let clash = |a: &[Slot], b: &[Slot]| {
        a.iter().enumerate().any(|(i, x)| b.iter().enumerate().any(|(j, y)| (work.writes(i) || work.writes(j)) && meet(x, y)))
    };
    let mut taken = vec![first];
    for step in &steps[1..] {
        let Some((_, args)) = launch(step).filter(|l| l.0 == kernel && taken.len() < JOINED) else { break };
        if taken.iter().any(|before| clash(before, &args)) {
            break;
        }
        taken.push(args);
    }
    taken.len()
}

/// Most arguments of one action.
pub(crate) fn most_args(actions: &[Action]) -> usize {
    let most = |action: &Action| match action {
        Action::Launch(launch) => launch.args.len(),
        Action::Together(list) => list.iter().map(|l| l.args.len()).sum(),
        Action::Loop { body, .. } => most_args(body),
    };
    actions.iter().map(most).max().unwrap_or(0)
}
