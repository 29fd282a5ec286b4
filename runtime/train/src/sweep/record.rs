//! What the points of a sweep came to, on disk: a finished point is not trained again, and reports are made from it.

use crate::run::{Finished, RunError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// The key whose values are repetitions of one point.
pub const SEED: &str = "seed";

/// A finished point.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// What identifies it: SHA-256 of the spec's files and of everything that was set.
    pub identity: String,
    /// What the sweep set.
    pub set: Vec<(String, String)>,
    /// Number of parameters.
    pub parameters: Option<u64>,
    /// Multiply-accumulates of the forward pass for one token.
    pub macs_per_token: Option<u64>,
    /// Bytes that graphs and store need.
    pub memory: u64,
    /// Examples of one step.
    pub batch: u64,
    /// Steps taken.
    pub steps: u64,
    /// Median seconds of a step.
    pub step_seconds: f64,
    /// Seconds of steps and evaluations.
    pub seconds: f64,
    /// Whether what the run goes on until was reached.
    pub reached: bool,
    /// The last evaluations: `validation.loss`, ...
    pub measured: BTreeMap<String, f64>,
    /// Claims, and whether they hold.
    pub claims: Vec<(String, bool)>,
}

/// A sweep with its finished points.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Sweep {
    /// The experiment.
    pub experiment: String,
    /// What the spec says of it.
    pub doc: Vec<String>,
    /// Finished points, in order.
    pub points: Vec<Record>,
}

/// Results of a finished run by part and metric.
pub fn measured(finished: &Finished) -> BTreeMap<String, f64> {
    let named = finished.evaluations.iter().flat_map(|(part, e)| e.values.iter().map(|(n, v)| (format!("{}.{n}", part.name()), *v)));
    // What is not finite has no place in JSON.
    named.filter(|(_, v)| v.is_finite()).collect()
}

/// Median of the seconds of a step by a run's `metrics.jsonl`, where a step has this many tokens; 0 where there is none.
pub fn median_step(metrics: &str, tokens: u64) -> f64 {
    let speed = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?.get("tokens_per_second")?.as_f64();
    let mut seconds: Vec<f64> = metrics.lines().filter_map(speed).filter(|s| *s > 0.0).map(|s| tokens as f64 / s).collect();
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(0.0)
}

impl Sweep {
    /// The sweep that a folder holds; `None` where it holds none.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub fn read(folder: &Path) -> Result<Option<Sweep>, RunError> {
        let path = folder.join("sweep.json");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(RunError::Read { path, why }),
        };
        serde_json::from_str(&text).map(Some).map_err(|why| RunError::BadLock { path, why: why.to_string() })
    }

    /// Writes `sweep.json` and `sweep.csv`, each in one piece.
    ///
    /// # Errors
    /// Where the system says no.
    pub fn write(&self, folder: &Path) -> Result<(), RunError> {
        std::fs::create_dir_all(folder).map_err(RunError::write(folder))?;
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        for (name, text) in [("sweep.json", json), ("sweep.csv", self.csv())] {
            let (path, beside) = (folder.join(name), folder.join(format!(".{name}")));
            std::fs::write(&beside, text).map_err(RunError::write(&beside))?;
            std::fs::rename(&beside, &path).map_err(RunError::write(&path))?;
        }
        Ok(())
    }

    /// The finished point of an identity.
    pub fn find(&self, identity: &str) -> Option<&Record> {
        self.points.iter().find(|p| p.identity == identity)
    }

    /// One line for each point; a column for each key and each metric.
    pub fn csv(&self) -> String {
        let keys: Vec<&String> = self.points.first().map_or_else(Vec::new, |p| p.set.iter().map(|s| &s.0).collect());
        let metrics = self.metrics();
        let mut text = String::new();
        let head = keys.iter().map(|k| k.as_str()).chain([
            "parameters",
            "macs_per_token",
            "memory",
            "steps",
            "step_seconds",
            "seconds",
            "reached",
        ]);
        let line = |cells: &mut dyn Iterator<Item = String>| cells.map(|c| quoted(&c)).collect::<Vec<_>>().join(",");
        let _ = writeln!(text, "{}", line(&mut head.map(str::to_owned).chain(metrics.iter().cloned())));
        for p in &self.points {
            let count = |n: Option<u64>| n.map_or_else(String::new, |n| n.to_string());
            let set = keys.iter().map(|k| p.value(k).unwrap_or_default().to_owned());
            let fixed = [
                count(p.parameters),
                count(p.macs_per_token),
                p.memory.to_string(),
                p.steps.to_string(),
                p.step_seconds.to_string(),
                p.seconds.to_string(),
                p.reached.to_string(),
            ];
            let values = metrics.iter().map(|m| p.measured.get(m).map_or_else(String::new, f64::to_string));
            let _ = writeln!(text, "{}", line(&mut set.chain(fixed).chain(values)));
        }
        text
    }

    /// Names of everything that was measured.
    pub fn metrics(&self) -> Vec<String> {
        let all: std::collections::BTreeSet<&String> = self.points.iter().flat_map(|p| p.measured.keys()).collect();
        all.into_iter().cloned().collect()
    }

    /// Points that differ in nothing but the seed, together, in the order of their first.
    pub fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for point in &self.points {
            let set: Vec<(&str, &str)> = point.set.iter().map(|(k, v)| (k.as_str(), v.as_str())).filter(|(k, _)| !is_seed(k)).collect();
            match groups.iter_mut().find(|g| g.set == set) {
                Some(group) => group.points.push(point),
                None => groups.push(Group { set, points: vec![point] }),
            }
        }
        groups
    }
}

fn is_seed(key: &str) -> bool {
    key == SEED || key == "budget.seed"
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

impl Record {
    /// What the sweep set a key to.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.set.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

/// Repetitions of one point.
#[derive(Clone, Debug)]
pub struct Group<'s> {
    /// What the sweep set, less the seed.
    pub set: Vec<(&'s str, &'s str)>,
    /// One for each seed.
    pub points: Vec<&'s Record>,
}

impl Group<'_> {
    /// What every repetition measured.
    pub fn values(&self, metric: &str) -> Vec<f64> {
        self.points.iter().filter_map(|p| p.measured.get(metric).copied()).collect()
    }
}

/// Mean, smallest and largest of some numbers; `None` of none.
pub fn spread(values: &[f64]) -> Option<[f64; 3]> {
    let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    (!values.is_empty()).then(|| [values.iter().sum::<f64>() / values.len() as f64, low, high])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(width: &str, seed: &str, loss: f64) -> Record {
        let set = vec![("width".to_owned(), width.to_owned()), ("seed".to_owned(), seed.to_owned())];
        let measured = BTreeMap::from([("validation.loss".to_owned(), loss)]);
        let identity = format!("{width}/{seed}");
        let (parameters, macs_per_token) = (Some(7), None);
        Record {
            identity,
            set,
            parameters,
            macs_per_token,
            memory: 1,
            batch: 1,
            steps: 3,
            step_seconds: 0.5,
            seconds: 2.0,
            reached: false,
            measured,
            claims: Vec::new(),
        }
    }

    fn sweep() -> Sweep {
        let points = vec![record("4", "1", 2.0), record("4", "2", 3.0), record("8", "1", 1.0)];
        Sweep { experiment: "e".into(), doc: Vec::new(), points }
    }

    #[test]
    fn points_that_differ_in_the_seed_are_one_group() {
        let sweep = sweep();
        let groups = sweep.groups();
        assert_eq!(groups.iter().map(|g| g.points.len()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(spread(&groups[0].values("validation.loss")), Some([2.5, 2.0, 3.0]));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_sweep_survives_its_folder_and_names_what_it_does_not_understand() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        assert_eq!(Sweep::read(folder.path())?, None);
        sweep().write(folder.path())?;
        assert_eq!(Sweep::read(folder.path())?, Some(sweep()));
        let csv = std::fs::read_to_string(folder.path().join("sweep.csv"))?;
        assert_eq!(csv.lines().nth(2), Some("4,2,7,,1,3,0.5,2,false,3"));
        std::fs::write(folder.path().join("sweep.json"), "{")?;
        assert!(Sweep::read(folder.path()).is_err());
        Ok(())
    }

    #[test]
    fn the_median_step_follows_from_the_speeds() {
        let lines = "{\"step\":1,\"tokens_per_second\":10}\n{\"step\":2,\"tokens_per_second\":40}\n{\"step\":3,\"tokens_per_second\":20}\n";
        assert!((median_step(lines, 100) - 5.0).abs() < 1e-12);
        assert_eq!(median_step("", 100).to_bits(), 0.0_f64.to_bits());
    }
}
