//! A picture as JSON, for other tools: `{"groups": [...], "edges": [...]}`; ids are places in `groups`.

use super::{Group, Picture, Side};
use std::fmt::Write;

/// The picture as one JSON value.
pub fn json(picture: &Picture) -> String {
    let groups: Vec<String> = picture.groups.iter().enumerate().map(|(id, g)| group(id, g)).collect();
    let edges: Vec<String> = picture
        .edges
        .iter()
        .map(|e| {
            format!(
                "{{\"from\":{},\"to\":{},\"value\":{},\"shape\":{},\"bytes\":{},\"out_of\":{},\"into\":{}}}",
                e.from,
                e.to,
                quoted(&e.value),
                quoted(&e.shape),
                e.bytes,
                id(e.out_of),
                id(e.into)
            )
        })
        .collect();
    format!("{{\"groups\":[\n{}\n],\"edges\":[\n{}\n]}}\n", groups.join(",\n"), edges.join(",\n"))
}

fn group(place: usize, g: &Group) -> String {
    let side = match g.side {
        Side::Inside => "null",
        Side::Top => "\"top\"",
        Side::Bottom => "\"bottom\"",
    };
    format!(
        "{{\"id\":{place},\"title\":{},\"kind\":\"{}\",\"place\":{},\"nodes\":{},\"stored\":{},\"flops\":{},\"bytes\":{},\"times\":{},\"parent\":{},\"side\":{side}}}",
        quoted(&g.title),
        g.kind.name(),
        quoted(&g.place),
        list(g.nodes.iter().map(|n| n.detail.as_str())),
        list(g.stored.iter().map(String::as_str)),
        g.flops,
        g.bytes,
        g.times,
        id(g.parent)
    )
}

fn id(of: Option<usize>) -> String {
    of.map_or("null".into(), |g| g.to_string())
}

fn list<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let texts: Vec<String> = texts.map(quoted).collect();
    format!("[{}]", texts.join(","))
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
