//! Columns of neighbouring rows: the `=` of equations, the types and initialisers of parameters, what settings are set to.

use super::rows::{Row, RowKind};
use super::{Line, WIDTH, is_sign, space};

/// Greatest difference of widths within which a column helps the eye.
const EQUATION: usize = 8;
const PARAM: usize = 24;
const SETTING: usize = 8;

/// Sets the gaps of rows that stand below each other.
pub(super) fn align(lines: &mut [Line], text: &str) {
    let mut from = 0;
    while from < lines.len() {
        let mut to = from + 1;
        while to < lines.len() && joins(&lines[from], &lines[to], &lines[to - 1], text) {
            to += 1;
        }
        let rows: Vec<&mut Row> =
            lines[from..to].iter_mut().filter_map(|l| if let Line::Row(row) = l { Some(row) } else { None }).collect();
        if rows.len() > 1 {
            run(rows, text);
        }
        from = to;
    }
}

/// Whether a line goes on the run that `first` starts.
fn joins(first: &Line, line: &Line, before: &Line, text: &str) -> bool {
    let (Line::Row(first), Line::Row(row)) = (first, line) else { return false };
    first.kind != RowKind::Other
        && row.kind == first.kind
        && row.indent == first.indent
        && simple(first, text)
        && simple(row, text)
        && !super::spaced(before, line, text)
}

/// One line without comments inside.
fn simple(row: &Row, text: &str) -> bool {
    let comments = row.tokens.iter().any(|t| t.kind == crate::parse::tokens::Kind::Comment);
    // What a setting is set to may be broken, its column stays.
    !comments && (row.kind == RowKind::Setting || row.indent + space::flat(&row.tokens, text) <= WIDTH)
}

fn run(mut rows: Vec<&mut Row>, text: &str) {
    match rows[0].kind {
        RowKind::Equation => column(&mut rows, text, EQUATION, |row| top_level(row, text, "=")),
        RowKind::Setting => {
            // `every 200` is one key; two spaces set what follows apart.
            let value = |row: &Row| Some(if row.tokens[0].text(text) == "every" && row.tokens.len() > 2 { 2 } else { 1 });
            for row in &mut rows {
                if let Some(i) = value(row) {
                    row.gaps.insert(row.tokens[i].start, 2);
                }
            }
            column(&mut rows, text, SETTING, value);
        }
        RowKind::Param => {
            column(&mut rows, text, PARAM, |row| top_level(row, text, ":").map(|i| i + 1));
            column(&mut rows, text, PARAM, |row| top_level(row, text, "~"));
        }
        RowKind::Other => {}
    }
}

/// The first such sign outside brackets.
fn top_level(row: &Row, text: &str, sign: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (i, token) in row.tokens.iter().enumerate() {
        match token.kind {
            crate::parse::tokens::Kind::Open => depth += 1,
            crate::parse::tokens::Kind::Close => depth = depth.saturating_sub(1),
            _ if depth == 0 && is_sign(*token, text, sign) => return Some(i),
            _ => {}
        }
    }
    None
}

/// Puts the chosen tokens of a run below each other, as far as their places differ by no more than `most`.
fn column(rows: &mut [&mut Row], text: &str, most: usize, choose: impl Fn(&Row) -> Option<usize>) {
    let mut from = 0;
    while from < rows.len() {
        let width = |row: &Row| choose(row).map(|i| (i, before(row, i, text)));
        let Some((_, first)) = width(rows[from]) else {
            from += 1;
            continue;
        };
        let (mut low, mut high, mut to) = (first, first, from + 1);
        while let Some((_, next)) = rows.get(to).and_then(|row| width(row)) {
            if low.min(next) + most < high.max(next) {
                break;
            }
            (low, high, to) = (low.min(next), high.max(next), to + 1);
        }
        let fits = rows[from..to].iter().all(|row| {
            let grown = width(row).map_or(0, |(_, w)| high - w);
            row.kind == RowKind::Setting || row.indent + before(row, row.tokens.len(), text) + grown <= WIDTH
        });
        if fits {
            for row in &mut rows[from..to] {
                if let Some((i, w)) = choose(row).map(|i| (i, before(row, i, text))) {
                    let normal = gap(row, i, text);
                    row.gaps.insert(row.tokens[i].start, normal + high - w);
                }
            }
        }
        from = to;
    }
}

/// Columns of the tokens before the `i`-th, without the gap in front of it.
fn before(row: &Row, i: usize, text: &str) -> usize {
    let token = |j: usize| super::columns(row.tokens[j].text(text));
    (0..i).map(|j| token(j) + if j > 0 { gap(row, j, text) } else { 0 }).sum()
}

fn gap(row: &Row, i: usize, text: &str) -> usize {
    match row.gaps.get(&row.tokens[i].start) {
        Some(gap) => *gap,
        None if i == 0 => 0,
        None => space::before(&row.tokens, i, text),
    }
}
