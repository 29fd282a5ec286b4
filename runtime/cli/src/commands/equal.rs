//! `ogive cost A B --match WHAT --vary KEY`: the size at which two specs are equal.

use super::cost::measure;
use super::graph::failed;
use crate::args::{Cost, Matched, Which};
use crate::exit::Exit;
use crate::{load, output, which};
use ogive::stages::{StageError, Subject};
use ogive_lang::{Settings, Spec, codes};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest size that is tried.
const LARGEST: u64 = 1 << 24;
/// Sizes around a crossing that are tried one by one: where only multiples of some number fit, the next one is among them.
const AROUND: u64 = 64;

/// One of the two.
struct Side {
    path: PathBuf,
    spec: Spec,
    subject: Subject,
    settings: Settings,
}

impl Side {
    fn new(given: &Path, args: &Cost) -> Result<Side, Exit> {
        let (path, of) = split(given);
        let spec = load::load_clean(&path, &args.overrides)?;
        let which = Which { of: of.or_else(|| args.which.of.clone()) };
        let subject = which::subject(&spec, &which)?;
        let mut settings = load::settings(&args.overrides, false)?;
        if matches!(subject, Subject::Experiment(_)) {
            settings.dims.insert("vocab".to_owned(), 256);
        }
        Ok(Side { path, spec, subject, settings })
    }

    fn with(&self, key: &str, value: u64) -> Settings {
        let mut settings = self.settings.clone();
        settings.set.retain(|(k, _)| k != key);
        settings.set.push((key.to_owned(), value.to_string()));
        settings
    }

    fn name(&self) -> String {
        format!("{}:{}", self.path.display(), self.subject.name())
    }
}

/// `file.arch:model` as file and model.
fn split(given: &Path) -> (PathBuf, Option<String>) {
    let text = given.to_string_lossy();
    match text.rsplit_once(':') {
        Some((file, name)) if !given.exists() && !name.is_empty() => (PathBuf::from(file), Some(name.to_owned())),
        _ => (given.to_path_buf(), None),
    }
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Found {
    Equal(u64),
    /// The nearest size on either side, with what it gives.
    Between([(u64, u128); 2]),
    NoEffect(u128),
    /// The size that comes nearest, and what it gives.
    OutOfReach(u64, u128),
}

pub(crate) fn run(args: &Cost, what: Matched, vary: &str) -> Result<(), Exit> {
    let [first, second] = args.specs.as_slice() else {
        output::error(format!("--match compares two specs; {} given", args.specs.len()));
        return Err(Exit::Usage);
    };
    let (first, second) = (Side::new(first, args)?, Side::new(second, args)?);
    let target = measure(&first.spec, &first.subject, &first.settings, what).map_err(|e| failed(e, &first.spec))?;
    let mut error: Option<StageError> = None;
    let found = solve(target, &mut |size| match measure(&second.spec, &second.subject, &second.with(vary, size), what) {
        Ok(n) => Some(n),
        Err(why) => {
            error.get_or_insert(why);
            None
        }
    });
    let unit = match what {
        Matched::Params => "parameters",
        Matched::Macs => "MACs/token",
        Matched::Memory => "bytes",
    };
    let (one, two) = (first.name(), second.name());
    let Some(found) = found else {
        let fallback = || StageError::Other(format!("`{two}` takes no `{vary}` from 1 to {LARGEST}"));
        return Err(failed(error.unwrap_or_else(fallback), &second.spec));
    };
    let n = |n: u128| output::thousands(n);
    let apart = |x: u128| if x < target { format!("{} fewer", n(target - x)) } else { format!("{} more", n(x - target)) };
    if output::json() {
        let (equal, sizes) = match found {
            Found::Equal(size) => (true, vec![(size, target)]),
            Found::Between(pair) => (false, pair.to_vec()),
            Found::NoEffect(x) => (x == target, Vec::new()),
            Found::OutOfReach(size, x) => (false, vec![(size, x)]),
        };
        let sizes: Vec<_> = sizes.into_iter().map(|(size, x)| serde_json::json!({ "value": size, unit: x.to_string() })).collect();
        let value = serde_json::json!({ "target": target.to_string(), "unit": unit, "key": vary, "equal": equal, "values": sizes });
        output::result(value.to_string());
    }
    match found {
        Found::Equal(size) => {
            said(format!("{one} has {} {unit}\nequal: {two} with {vary}={size} has {} {unit} too", n(target), n(target)));
            Ok(())
        }
        Found::Between(pair) => {
            let lines = pair.map(|(size, x)| format!("  {vary}={size} has {} {unit}, {}", n(x), apart(x)));
            said(format!("{one} has {} {unit}\nno `{vary}` of {two} has exactly as many; nearest:\n{}", n(target), lines.join("\n")));
            Ok(())
        }
        Found::NoEffect(x) if x == target => {
            said(format!("equal: {one} and {two} have {} {unit}, whatever `{vary}` is", n(target)));
            Ok(())
        }
        Found::NoEffect(x) => {
            output::error(format!("{two} has {} {unit} whatever `{vary}` is; {one} has {} [{}]", n(x), n(target), codes::set::NO_EFFECT));
            output::help("vary a dim that its parameters have; `ogive cost` shows their formula");
            Err(Exit::Spec)
        }
        Found::OutOfReach(size, x) => {
            let message = format!("no `{vary}` brings {two} to {} {unit}: {vary}={size} has {}, {}", n(target), n(x), apart(x));
            output::error(format!("{message} [{}]", codes::set::NO_SOLUTION));
            output::help("set another of its sizes first, or change places");
            Err(Exit::Spec)
        }
    }
}

fn said(text: String) {
    if !output::json() {
        output::result(text);
    }
}

/// Finds the size at which a monotone function, defined for some sizes only, has a value; `None` where it is defined for no size tried.
fn solve(target: u128, measured: &mut dyn FnMut(u64) -> Option<u128>) -> Option<Found> {
    let mut known: BTreeMap<u64, u128> = BTreeMap::new();
    let mut at = |size: u64, known: &mut BTreeMap<u64, u128>| -> Option<u128> {
        if let Some(x) = known.get(&size) {
            return Some(*x);
        }
        let x = measured(size)?;
        known.insert(size, x);
        Some(x)
    };
    // Powers of two, and three times them: some sizes are only taken as multiples of three.
    let mut sizes: Vec<u64> = (0..=24).flat_map(|k| [1_u64 << k, 3 << k]).filter(|s| *s <= LARGEST).collect();
    sizes.sort_unstable();
    let side = |x: u128| x.cmp(&target);
    let mut before: Option<(u64, u128)> = None;
    let mut crossing = None;
    for size in sizes {
        let Some(x) = at(size, &mut known) else { continue };
        if x == target {
            return Some(equal_or_constant(size, target, &mut |s| at(s, &mut known)));
        }
        if let Some((low, y)) = before
            && side(y) != side(x)
        {
            crossing = Some((low, size));
            break;
        }
        // Far beyond the target and leaving it: nothing comes after.
        if let Some((_, y)) = before
            && x > y
            && x > target.saturating_mul(64)
        {
            break;
        }
        before = Some((size, x));
    }
    let Some((mut low, mut high)) = crossing else {
        let first = known.values().next()?;
        if known.len() > 1 && known.values().all(|x| x == first) {
            return Some(Found::NoEffect(*first));
        }
        let nearest = known.iter().min_by_key(|(_, x)| x.abs_diff(target))?;
        return Some(Found::OutOfReach(*nearest.0, *nearest.1));
    };
    let low_side = side(*known.get(&low)?);
    while high - low > AROUND {
        let middle = low + (high - low) / 2;
        // The nearest size to the middle that is taken.
        let near = (0..=AROUND).flat_map(|d| [middle - d.min(middle - low), (middle + d).min(high)]);
        let Some((size, x)) = near.filter(|s| *s > low && *s < high).find_map(|s| Some((s, at(s, &mut known)?))) else { break };
        match side(x) {
            std::cmp::Ordering::Equal => return Some(Found::Equal(size)),
            s if s == low_side => low = size,
            _ => high = size,
        }
    }
    for size in low..=high.min(low + 4 * AROUND) {
        if at(size, &mut known) == Some(target) {
            return Some(Found::Equal(size));
        }
    }
    let nearest = |with: std::cmp::Ordering| known.iter().filter(|(_, x)| side(**x) == with).min_by_key(|(_, x)| x.abs_diff(target));
    let (below, above) = (nearest(std::cmp::Ordering::Less)?, nearest(std::cmp::Ordering::Greater)?);
    Some(Found::Between([(*below.0, *below.1), (*above.0, *above.1)]))
}

/// Equal at one size: by that size, or whatever it is.
fn equal_or_constant(size: u64, target: u128, at: &mut dyn FnMut(u64) -> Option<u128>) -> Found {
    let others = [size + 1, size + 2, 2 * size, 3 * size, 4 * size];
    let constant = others.into_iter().filter_map(at).collect::<Vec<_>>();
    if !constant.is_empty() && constant.iter().all(|x| *x == target) { Found::NoEffect(target) } else { Found::Equal(size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(s: u64) -> Option<u128> {
        Some(u128::from(s) * u128::from(s))
    }

    #[test]
    fn a_size_is_found_exactly_or_between_two() {
        assert_eq!(solve(1_000_000, &mut square), Some(Found::Equal(1000)));
        assert_eq!(solve(1_000_001, &mut square), Some(Found::Between([(1000, 1_000_000), (1001, 1_002_001)])));
        // Only multiples of 12 fit.
        let mut twelves = |s: u64| s.is_multiple_of(12).then(|| u128::from(s) * 7);
        assert_eq!(solve(12 * 7 * 1234, &mut twelves), Some(Found::Equal(12 * 1234)));
        assert_eq!(solve(12 * 7 * 1234 + 1, &mut twelves), Some(Found::Between([(14808, 103_656), (14820, 103_740)])));
    }

    #[test]
    fn a_function_that_falls_is_solved_too() {
        let mut falling = |s: u64| Some(u128::from(1_000_000 / s));
        assert_eq!(solve(1000, &mut falling), Some(Found::Equal(1000)));
    }

    #[test]
    fn what_cannot_be_reached_is_told_apart() {
        assert_eq!(solve(5, &mut |_| Some(7)), Some(Found::NoEffect(7)));
        assert_eq!(solve(7, &mut |_| Some(7)), Some(Found::NoEffect(7)));
        assert_eq!(solve(1, &mut |s| Some(u128::from(s) + 10)), Some(Found::OutOfReach(1, 11)));
        assert_eq!(solve(1, &mut |_| None), None);
    }
}
