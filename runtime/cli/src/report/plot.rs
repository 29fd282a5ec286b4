//! A plot of groups of points as SVG: a row for each group, a dot for each seed, a bar at the mean.

use std::fmt::Write;

const LEFT: f64 = 270.0;
const WIDTH: f64 = 820.0;
const RIGHT: f64 = 30.0;
const ROW: f64 = 22.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 48.0;

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) label: String,
    pub(crate) values: Vec<f64>,
}

/// The picture. Rows without values stay empty.
pub(crate) fn svg(title: &str, axis: &str, rows: &[Row]) -> String {
    let height = TOP + ROW * rows.len() as f64 + BOTTOM;
    let ticks = ticks(rows.iter().flat_map(|r| r.values.iter().copied()));
    let (low, high) = (ticks.first().copied().unwrap_or(0.0), ticks.last().copied().unwrap_or(1.0));
    let x = |v: f64| LEFT + (v - low) / (high - low).max(f64::MIN_POSITIVE) * (WIDTH - LEFT - RIGHT);
    let y = |row: usize| TOP + ROW * (row as f64 + 0.5);
    let bottom = TOP + ROW * rows.len() as f64;
    let mut s = String::new();
    let _ = writeln!(
        s,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    );
    let _ = writeln!(s, "<text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>", escaped(title));
    for tick in &ticks {
        let at = x(*tick);
        let _ = writeln!(s, "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#dddddd\"/>");
        let _ = writeln!(s, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#444444\">{}</text>", bottom + 16.0, number(*tick));
    }
    for (i, row) in rows.iter().enumerate() {
        let at = y(i);
        let _ = writeln!(s, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", LEFT - 10.0, at + 4.0, escaped(&row.label));
        if row.values.is_empty() {
            continue;
        }
        let mean = x(row.values.iter().sum::<f64>() / row.values.len() as f64);
        let (a, b) = (at - 8.0, at + 8.0);
        let _ = writeln!(s, "<line x1=\"{mean:.1}\" y1=\"{a:.1}\" x2=\"{mean:.1}\" y2=\"{b:.1}\" stroke=\"#b3382c\" stroke-width=\"3\"/>");
        for value in &row.values {
            let _ = writeln!(s, "<circle cx=\"{:.1}\" cy=\"{at:.1}\" r=\"4\" fill=\"#2c5fb3\" fill-opacity=\"0.6\"/>", x(*value));
        }
    }
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    let _ = writeln!(s, "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", bottom + 36.0, escaped(axis));
    s.push_str("</svg>\n");
    s
}

/// Round numbers that span all values.
pub(super) fn ticks(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let (low, high) = values.filter(|v| v.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return vec![0.0, 1.0];
    }
    let span = (high - low).max(high.abs() * 1e-3).max(1e-9);
    let rough = span / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(rough);
    let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
    (first..=last.max(first + 1)).map(|k| k as f64 * step).collect()
}

pub(super) fn number(x: f64) -> String {
    let text = format!("{x:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_span_the_values() {
        let close = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-9);
        assert!(close(&ticks([0.0, 1.0].into_iter()), &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]));
        assert!(close(&ticks([2.61, 2.68].into_iter()), &[2.6, 2.62, 2.64, 2.66, 2.68]));
        assert!(ticks([3.0].into_iter()).len() >= 2);
        assert!(close(&ticks(std::iter::empty()), &[0.0, 1.0]));
    }

    #[test]
    fn every_value_is_a_dot_and_labels_are_escaped() {
        let rows = [Row { label: "a<b".into(), values: vec![1.0, 2.0] }, Row { label: "none".into(), values: Vec::new() }];
        let picture = svg("t", "loss", &rows);
        assert_eq!(picture.matches("<circle").count(), 2);
        assert!(picture.contains("a&lt;b") && picture.ends_with("</svg>\n"));
    }
}
