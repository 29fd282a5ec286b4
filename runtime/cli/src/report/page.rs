//! A Markdown page: for each sweep what the spec says of it, a table of groups over seeds, and a plot.

use super::curve::Curves;
use super::plot::{self, Row};
use crate::output;
use ogive_train::sweep::{Group, Sweep, spread};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Metrics that every experiment has.
const BUILT_IN: [&str; 4] = ["loss", "perplexity", "bits_per_token", "bits_per_byte"];

/// The metrics to show where none are asked for: those that were declared, else bits per byte, else the loss.
pub(crate) fn metrics(sweep: &Sweep, asked: &[String]) -> Vec<String> {
    let all = sweep.metrics();
    let named: Vec<String> = asked.iter().filter(|m| all.contains(m)).cloned().collect();
    if !named.is_empty() {
        return named;
    }
    let short = |m: &str| m.split_once('.').map_or(m.to_owned(), |(_, name)| name.to_owned());
    let declared: Vec<String> = all.iter().filter(|m| !BUILT_IN.contains(&short(m).as_str())).cloned().collect();
    let one = |name: &str| all.iter().filter(|m| *m == name).cloned().collect::<Vec<_>>();
    [declared, one("validation.bits_per_byte"), one("validation.loss")].into_iter().find(|m| !m.is_empty()).unwrap_or_default()
}

/// The section of one sweep; `picture` is the file of its plot. Along a key where the sweep has curves, else a row for each group.
pub(crate) fn section(sweep: &Sweep, metrics: &[String], curves: Option<&Curves<'_>>, picture: Option<&str>) -> String {
    let mut text = format!("## {}\n\n", sweep.experiment);
    if !sweep.doc.is_empty() {
        let doc: Vec<&str> = sweep.doc.iter().map(|l| l.trim()).collect();
        let _ = writeln!(text, "{}\n", doc.join(" "));
    }
    text.push_str(&curves.map_or_else(|| table(sweep, metrics), Curves::table));
    if let Some(picture) = picture {
        let _ = writeln!(text, "\n![{} of {}]({picture})", metrics.first().map_or("results", String::as_str), sweep.experiment);
    }
    text
}

fn table(sweep: &Sweep, metrics: &[String]) -> String {
    let mut text = String::new();
    let groups = sweep.groups();
    let keys: Vec<&str> = groups.first().map_or_else(Vec::new, |g| g.set.iter().map(|(k, _)| *k).collect());
    let goal = groups.iter().any(|g| g.points.iter().any(|p| p.reached));
    let mut head: Vec<String> = keys.iter().map(|k| (*k).to_owned()).collect();
    head.extend(["seeds", "parameters", "MACs/token"].map(str::to_owned));
    head.extend(metrics.iter().cloned());
    if goal {
        head.extend(["solved", "seconds"].map(str::to_owned));
    }
    head.extend(["steps", "ms/step", "memory/example"].map(str::to_owned));
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    text.push_str(&line(&head));
    text.push_str(&line(&head.iter().map(|_| "---".to_owned()).collect::<Vec<_>>()));
    for group in &groups {
        text.push_str(&line(&cells(group, metrics, goal)));
    }
    text.push_str("\nMean over the seeds, smallest and largest in brackets.");
    if goal {
        text.push_str(" Seconds are those of the runs that were solved, evaluations included.");
    }
    text.push('\n');
    text
}

fn cells(group: &Group<'_>, metrics: &[String], goal: bool) -> Vec<String> {
    let mut cells: Vec<String> = group.set.iter().map(|(_, v)| (*v).to_owned()).collect();
    let only = |values: BTreeSet<Option<u64>>| match values.into_iter().collect::<Vec<_>>().as_slice() {
        [Some(n)] => output::thousands(*n),
        _ => "-".to_owned(),
    };
    cells.push(group.points.len().to_string());
    cells.push(only(group.points.iter().map(|p| p.parameters).collect()));
    cells.push(only(group.points.iter().map(|p| p.macs_per_token).collect()));
    cells.extend(metrics.iter().map(|m| ranged(&group.values(m), 3)));
    if goal {
        let solved: Vec<f64> = group.points.iter().filter(|p| p.reached).map(|p| p.seconds).collect();
        cells.push(format!("{} of {}", solved.len(), group.points.len()));
        cells.push(ranged(&solved, 1));
    }
    let numbers = |f: &dyn Fn(&ogive_train::sweep::Record) -> f64| group.points.iter().map(|p| f(p)).collect::<Vec<_>>();
    cells.push(ranged(&numbers(&|p| p.steps as f64), 0));
    cells.push(spread(&numbers(&|p| p.step_seconds * 1e3)).map_or_else(|| "-".into(), |[mean, ..]| format!("{mean:.1}")));
    let memory = spread(&numbers(&|p| p.memory as f64 / p.batch.max(1) as f64)).map_or(0.0, |[mean, ..]| mean);
    cells.push(output::bytes(memory as u64));
    cells
}

/// `1.234 (1.2 to 1.3)`; the number alone where all are alike to these digits.
pub(super) fn ranged(values: &[f64], digits: usize) -> String {
    let Some([mean, low, high]) = spread(values) else { return "-".to_owned() };
    let text = |x: f64| format!("{x:.digits$}");
    if text(low) == text(high) { text(mean) } else { format!("{} ({} to {})", text(mean), text(low), text(high)) }
}

/// The plot of a metric; none where there is nothing to compare.
pub(crate) fn picture(sweep: &Sweep, metric: &str) -> Option<String> {
    let label = |g: &Group<'_>| g.set.iter().map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>().join(", ");
    let rows: Vec<Row> = sweep.groups().iter().map(|g| Row { label: label(g), values: g.values(metric) }).collect();
    (rows.len() > 1).then(|| plot::svg(&sweep.experiment, metric, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_shown_where_there_is_one() {
        assert_eq!(ranged(&[1.0, 2.0], 2), "1.50 (1.00 to 2.00)");
        assert_eq!(ranged(&[1.0, 1.0], 0), "1");
        assert_eq!(ranged(&[], 2), "-");
    }
}
