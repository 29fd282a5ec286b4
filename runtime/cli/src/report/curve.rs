//! Metrics of a sweep against one of its keys: a line for each setting of the others, as a table and as SVG.

use super::plot::{escaped, number, ticks};
use ogive_train::sweep::{Sweep, spread};
use std::collections::BTreeSet;
use std::fmt::Write;

const LEFT: f64 = 64.0;
const RIGHT: f64 = 560.0;
const WIDTH: f64 = 820.0;
const TOP: f64 = 44.0;
/// Height of the panel of one metric, alone and above others.
const PANEL: [f64; 2] = [300.0, 180.0];
const BETWEEN: f64 = 24.0;
const BELOW: f64 = 56.0;
const ENTRY: f64 = 18.0;
/// Colours that people with any kind of colour vision tell apart (Okabe and Ito 2008), the light ones last.
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#56b4e9", "#e69f00", "#999999"];
const DASHES: [&str; 3] = ["none", "7 4", "2 3"];
/// Values of a key this many times apart are spread on a logarithmic scale.
const WIDE: f64 = 8.0;

/// One setting of the other keys.
struct Line {
    cells: Vec<String>,
    label: String,
    /// What the repetitions measured: for each metric, for each value of the key.
    values: Vec<Vec<Vec<f64>>>,
}

/// A sweep seen along one of its keys.
pub(crate) struct Curves<'s> {
    sweep: &'s Sweep,
    key: &'s str,
    /// The other keys.
    others: Vec<String>,
    metrics: &'s [String],
    at: Vec<f64>,
    lines: Vec<Line>,
}

impl<'s> Curves<'s> {
    /// `None` where the sweep does not set the key to at least two numbers.
    pub(crate) fn of(sweep: &'s Sweep, key: &'s str, metrics: &'s [String]) -> Option<Curves<'s>> {
        let groups = sweep.groups();
        let place = |set: &[(&str, &str)]| set.iter().find(|(k, _)| *k == key).and_then(|(_, v)| v.parse::<f64>().ok());
        let mut at = groups.iter().map(|g| place(&g.set)).collect::<Option<Vec<f64>>>()?;
        at.sort_by(f64::total_cmp);
        at.dedup();
        if at.len() < 2 || metrics.is_empty() || at.iter().any(|x| !x.is_finite()) {
            return None;
        }
        let others: Vec<String> = groups[0].set.iter().map(|(k, _)| (*k).to_owned()).filter(|k| k != key).collect();
        let mut lines: Vec<Line> = Vec::new();
        for group in &groups {
            let own: Vec<(&str, &str)> = group.set.iter().filter(|(k, _)| *k != key).copied().collect();
            let x = place(&group.set)?;
            let column = at.iter().position(|a| a.total_cmp(&x).is_eq())?;
            let cells: Vec<String> = own.iter().map(|(_, v)| (*v).to_owned()).collect();
            let line = match lines.iter().position(|l| l.cells == cells) {
                Some(found) => found,
                None => {
                    // One key needs no name beside its value: the legend has it as its title.
                    let named = |(k, v): &(&str, &str)| if own.len() == 1 { (*v).to_owned() } else { format!("{k} {v}") };
                    let label = own.iter().map(named).collect::<Vec<_>>().join(", ");
                    lines.push(Line { cells, label, values: vec![vec![Vec::new(); at.len()]; metrics.len()] });
                    lines.len() - 1
                }
            };
            for (values, metric) in lines[line].values.iter_mut().zip(metrics) {
                values[column] = group.values(metric);
            }
        }
        Some(Curves { sweep, key, others, metrics, at, lines })
    }

    /// The table: a row for each line and metric, a column for each value of the key.
    pub(crate) fn table(&self) -> String {
        let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        // One metric is named below the table.
        let named = self.metrics.len() > 1 || self.others.is_empty();
        let columns = self.at.iter().map(|x| format!("{} {}", self.key, number(*x)));
        let metric = named.then(|| "metric".to_owned());
        let head: Vec<String> = self.others.iter().cloned().chain(metric).chain(columns).collect();
        let mut text = row(head.clone());
        text.push_str(&row(head.iter().map(|_| "---".to_owned()).collect()));
        for line in &self.lines {
            for (values, metric) in line.values.iter().zip(self.metrics) {
                let metric = named.then(|| metric.clone());
                let cells = values.iter().map(|v| super::page::ranged(v, 3));
                text.push_str(&row(line.cells.iter().cloned().chain(metric).chain(cells).collect()));
            }
        }
        let seeds: BTreeSet<usize> = self.lines.iter().flat_map(|l| l.values.iter().flatten().map(Vec::len)).filter(|n| *n > 0).collect();
        let of = match seeds.into_iter().collect::<Vec<_>>()[..] {
            [1] => "One seed.".to_owned(),
            [n] => format!("Mean over {n} seeds, smallest and largest in brackets."),
            _ => "Mean over the seeds, smallest and largest in brackets.".to_owned(),
        };
        let what = if named { String::new() } else { format!("`{}`. ", self.metrics[0]) };
        let _ = write!(text, "\n{what}{of}\n");
        text
    }

    /// Where a value of the key lies.
    fn x(&self, v: f64) -> f64 {
        let (first, last) = (self.at[0], self.at[self.at.len() - 1]);
        let logarithmic = first > 0.0 && last / first >= WIDE;
        let scale = |v: f64| if logarithmic { v.ln() } else { v };
        let share = (scale(v) - scale(first)) / (scale(last) - scale(first)).max(f64::MIN_POSITIVE);
        LEFT + 12.0 + share * (RIGHT - LEFT - 24.0)
    }

    /// The picture: a panel for each metric, means joined, a stroke from the smallest to the largest.
    pub(crate) fn svg(&self) -> String {
        let count = self.metrics.len();
        let panel = PANEL[usize::from(count > 1)];
        let legend = TOP + ENTRY * (self.lines.len() + 1) as f64;
        let height = (TOP + panel * count as f64 + BETWEEN * (count - 1) as f64 + BELOW).max(legend);
        let mut s = String::new();
        let _ = writeln!(
            s,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
        );
        let _ = writeln!(s, "<text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>", escaped(&self.sweep.experiment));
        for metric in 0..count {
            let top = TOP + metric as f64 * (panel + BETWEEN);
            self.panel(&mut s, metric, top, top + panel);
        }
        let bottom = TOP + panel * count as f64 + BETWEEN * (count - 1) as f64;
        for place in &self.at {
            let (at, text) = (self.x(*place), number(*place));
            let _ = writeln!(s, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#444444\">{text}</text>", bottom + 19.0);
        }
        let middle = (LEFT + RIGHT) / 2.0;
        let _ = writeln!(s, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>", bottom + 40.0, escaped(self.key));
        if let [only] = &self.others[..] {
            let _ = writeln!(s, "<text x=\"{}\" y=\"{}\" fill=\"#444444\">{}</text>", RIGHT + 20.0, TOP + 4.0, escaped(only));
        }
        for (i, line) in self.lines.iter().enumerate().filter(|(_, l)| !l.label.is_empty()) {
            let (from, at) = (RIGHT + 20.0, TOP + ENTRY * (i + 1) as f64);
            let _ = writeln!(s, "<line x1=\"{from}\" y1=\"{at}\" x2=\"{}\" y2=\"{at}\" {}/>", from + 28.0, stroke(i));
            let _ = writeln!(s, "{}", mark(i, from + 14.0, at));
            let _ = writeln!(s, "<text x=\"{}\" y=\"{}\">{}</text>", from + 36.0, at + 4.0, escaped(&line.label));
        }
        s.push_str("</svg>\n");
        s
    }

    fn panel(&self, s: &mut String, metric: usize, top: f64, bottom: f64) {
        let means: Vec<Vec<Option<[f64; 3]>>> = self.lines.iter().map(|l| l.values[metric].iter().map(|v| spread(v)).collect()).collect();
        let ticks = ticks(means.iter().flatten().flatten().flat_map(|m| m.iter().copied()));
        let (low, high) = (ticks.first().copied().unwrap_or(0.0), ticks.last().copied().unwrap_or(1.0));
        let y = |v: f64| bottom - (v - low) / (high - low).max(f64::MIN_POSITIVE) * (bottom - top);
        for tick in &ticks {
            let (at, text) = (y(*tick), number(*tick));
            let _ = writeln!(s, "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{RIGHT}\" y2=\"{at:.1}\" stroke=\"#dddddd\"/>");
            let _ = writeln!(s, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#444444\">{text}</text>", LEFT - 6.0, at + 4.0);
        }
        for place in &self.at {
            let at = self.x(*place);
            let _ = writeln!(s, "<line x1=\"{at:.1}\" y1=\"{bottom}\" x2=\"{at:.1}\" y2=\"{}\" stroke=\"#888888\"/>", bottom + 5.0);
        }
        let (turn, name) = ((top + bottom) / 2.0, escaped(&self.metrics[metric]));
        let _ = writeln!(s, "<text transform=\"translate(16 {turn}) rotate(-90)\" text-anchor=\"middle\">{name}</text>");
        for (i, means) in means.iter().enumerate() {
            let present: Vec<(f64, [f64; 3])> = self.at.iter().zip(means).filter_map(|(a, m)| Some((self.x(*a), (*m)?))).collect();
            let path: Vec<String> = present.iter().map(|(at, m)| format!("{at:.1},{:.1}", y(m[0]))).collect();
            let _ = writeln!(s, "<polyline points=\"{}\" fill=\"none\" {}/>", path.join(" "), stroke(i));
            for (at, [mean, least, most]) in present {
                if y(least) - y(most) > 1.0 {
                    let (a, b, colour) = (y(least), y(most), COLOURS[i % COLOURS.len()]);
                    let _ = writeln!(s, "<line x1=\"{at:.1}\" y1=\"{a:.1}\" x2=\"{at:.1}\" y2=\"{b:.1}\" stroke=\"{colour}\"/>");
                }
                let _ = writeln!(s, "{}", mark(i, at, y(mean)));
            }
        }
    }
}

fn stroke(i: usize) -> String {
    let (colour, dash) = (COLOURS[i % COLOURS.len()], DASHES[i / COLOURS.len() % DASHES.len()]);
    format!("stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"")
}

/// A disk, a square, a triangle or a diamond.
fn mark(i: usize, x: f64, y: f64) -> String {
    let colour = COLOURS[i % COLOURS.len()];
    let polygon = |points: &[[f64; 2]]| {
        let points: Vec<String> = points.iter().map(|[a, b]| format!("{:.1},{:.1}", x + a, y + b)).collect();
        format!("<polygon points=\"{}\" fill=\"{colour}\"/>", points.join(" "))
    };
    match i % 4 {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>"),
        1 => polygon(&[[-3.5, -3.5], [3.5, -3.5], [3.5, 3.5], [-3.5, 3.5]]),
        2 => polygon(&[[0.0, -4.5], [4.5, 3.5], [-4.5, 3.5]]),
        _ => polygon(&[[0.0, -5.0], [5.0, 0.0], [0.0, 5.0], [-5.0, 0.0]]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ogive_train::sweep::Record;

    fn record(set: &[(&str, &str)], values: &[(&str, f64)]) -> Record {
        let set: Vec<(String, String)> = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Record {
            identity: format!("{set:?}"),
            set,
            parameters: None,
            macs_per_token: None,
            memory: 0,
            batch: 1,
            steps: 0,
            step_seconds: 0.0,
            seconds: 0.0,
            reached: false,
            measured: values.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect(),
            claims: Vec::new(),
        }
    }

    fn sweep() -> Sweep {
        let point =
            |n: &str, rule: &str, seed: &str, v: f64| record(&[("pairs", n), ("rule", rule), ("seed", seed)], &[("validation.hit", v)]);
        let points =
            vec![point("64", "hebb", "1", 0.25), point("8", "hebb", "1", 1.0), point("8", "hebb", "2", 0.5), point("8", "max", "1", 1.0)];
        Sweep { experiment: "capacity".into(), doc: Vec::new(), points }
    }

    #[test]
    fn lines_run_along_the_key_and_points_that_are_missing_stay_empty() {
        let sweep = sweep();
        let metrics = ["validation.hit".to_owned()];
        let curves = Curves::of(&sweep, "pairs", &metrics).expect("two numbers");
        let table = curves.table();
        assert!(table.starts_with("| rule | pairs 8 | pairs 64 |\n| --- | --- | --- |\n"), "{table}");
        assert!(table.contains("| hebb | 0.750 (0.500 to 1.000) | 0.250 |\n| max | 1.000 | - |"), "{table}");
        let picture = curves.svg();
        assert_eq!((picture.matches("<polyline").count(), picture.matches("<circle").count()), (2, 3));
        assert!(picture.contains(">pairs</text>") && picture.contains(">rule</text>"));
        assert!(Curves::of(&sweep, "rule", &metrics).is_none() && Curves::of(&sweep, "width", &metrics).is_none());
    }

    #[test]
    fn several_metrics_have_a_panel_each() {
        let both = |gain: &str, a: f64, b: f64| record(&[("gain", gain)], &[("validation.old", a), ("validation.new", b)]);
        let sweep = Sweep { experiment: "e".into(), doc: Vec::new(), points: vec![both("1", 0.5, 1.0), both("2", 0.9, 0.8)] };
        let metrics = ["validation.old".to_owned(), "validation.new".to_owned()];
        let curves = Curves::of(&sweep, "gain", &metrics).expect("two numbers");
        let table = curves.table();
        assert!(table.contains("| validation.old | 0.500 | 0.900 |\n| validation.new | 1.000 | 0.800 |\n\nOne seed."), "{table}");
        assert_eq!(curves.svg().matches("<polyline").count(), 2);
    }
}
