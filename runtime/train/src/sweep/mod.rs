//! Sweeps: the points of a sweep one after the other, and a table of what they came to.

mod record;

pub use record::{Group, Record, SEED, Sweep, measured, median_step, spread};

use crate::data::Part;
use crate::run::{End, Finished, RunError};
use ogive_lang::hir::experiment::Point;

/// What one point came to.
#[derive(Debug)]
pub struct Row {
    /// What was set.
    pub point: Point,
    /// Number of parameters, where the point got as far.
    pub parameters: Option<u64>,
    /// How it ended, or why it did not.
    pub result: Result<Finished, RunError>,
}

/// Number of parameters, where a point got as far, and how it ended.
pub type Ran = (Option<u64>, Result<Finished, RunError>);

/// Runs points in order. `one` gets a point's number, from 0, and gives the number of parameters and the result. A point that fails does
/// not stop the others; an interrupted one does.
pub fn run(points: Vec<Point>, one: &mut dyn FnMut(usize, &Point) -> Ran) -> Vec<Row> {
    let mut rows = Vec::new();
    for (number, point) in points.into_iter().enumerate() {
        let (parameters, result) = one(number, &point);
        let interrupted = matches!(&result, Ok(finished) if finished.end == End::Interrupted);
        rows.push(Row { point, parameters, result });
        if interrupted {
            break;
        }
    }
    rows
}

/// A table for people: a column for each key, then parameters, steps and validation metrics, the best loss first. Failed points come
/// last, with the reason in the last column.
pub fn table(rows: &[Row]) -> (Vec<String>, Vec<Vec<String>>) {
    let keys: Vec<&String> = rows.first().map_or_else(Vec::new, |r| r.point.set.iter().map(|(key, _)| key).collect());
    let validation = |row: &Row| row.result.as_ref().ok().and_then(|f| f.evaluations.get(&Part::Validation)).cloned();
    let metrics: Vec<String> = rows.iter().find_map(validation).map_or_else(Vec::new, |e| e.values.into_iter().map(|(n, _)| n).collect());
    let mut header: Vec<String> = keys.iter().map(|k| (*k).clone()).collect();
    header.extend(["parameters".to_owned(), "steps".to_owned()]);
    header.extend(metrics.iter().map(|m| format!("validation.{m}")));
    header.push("claims".into());
    let mut order: Vec<&Row> = rows.iter().collect();
    let loss = |row: &Row| validation(row).map_or(f64::INFINITY, |e| e.loss());
    order.sort_by(|a, b| a.result.is_err().cmp(&b.result.is_err()).then(loss(a).total_cmp(&loss(b))));
    let line = |row: &&Row| {
        let mut cells: Vec<String> = row.point.set.iter().map(|(_, value)| value.clone()).collect();
        cells.push(row.parameters.map_or_else(|| "-".into(), |n| n.to_string()));
        cells.push(row.result.as_ref().map_or_else(|_| "-".into(), |f| f.step.to_string()));
        let evaluation = validation(row);
        let value = |m: &String| evaluation.as_ref().and_then(|e| e.get(m)).map_or_else(|| "-".into(), |v| format!("{v:.4}"));
        cells.extend(metrics.iter().map(value));
        cells.push(match &row.result {
            Err(why) => why.to_string(),
            Ok(f) if f.end == End::Interrupted => "interrupted".into(),
            Ok(f) => format!("{} of {} hold", f.claims.iter().filter(|c| c.holds).count(), f.claims.len()),
        });
        cells
    };
    (header, order.iter().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Evaluation;
    use std::collections::BTreeMap;

    fn finished(end: End, loss: f64) -> Finished {
        let evaluation = Evaluation { values: vec![("loss".into(), loss)], routing: Vec::new(), contexts: 1 };
        let evaluations = BTreeMap::from([(Part::Validation, evaluation)]);
        Finished {
            end,
            step: 7,
            checkpoint: "c".into(),
            evaluations,
            claims: Vec::new(),
            best: None,
            reached: false,
            seconds: 1.0,
            memory: 1,
        }
    }

    fn points(n: usize) -> Vec<Point> {
        (0..n).map(|i| Point { set: vec![("model".into(), i.to_string())] }).collect()
    }

    #[test]
    fn the_best_point_comes_first_and_a_failed_one_last() {
        let results = [Err(RunError::NoContext("validation")), Ok(finished(End::Complete, 2.0)), Ok(finished(End::Complete, 1.0))];
        let mut results = results.into_iter();
        let rows = run(points(3), &mut |_, _| (Some(10), results.next().unwrap_or(Err(RunError::NoContext("test")))));
        let (header, cells) = table(&rows);
        assert_eq!(header, ["model", "parameters", "steps", "validation.loss", "claims"]);
        assert_eq!(cells.iter().map(|c| c[0].as_str()).collect::<Vec<_>>(), ["2", "1", "0"]);
        assert_eq!(cells[0][3], "1.0000");
        assert!(cells[2][4].contains("no context"));
    }

    #[test]
    fn an_interrupted_point_is_the_last() {
        let rows = run(points(3), &mut |_, _| (None, Ok(finished(End::Interrupted, 1.0))));
        assert_eq!(rows.len(), 1);
    }
}
