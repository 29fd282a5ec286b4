//! A picture in the language of Graphviz; loops are clusters.

use super::layout::{footer, shown};
use super::{Kind, Picture, bytes};
use std::fmt::Write;

/// The picture as a `digraph`.
pub fn dot(picture: &Picture) -> String {
    let mut out = String::from(
        "digraph graph_ {\n  rankdir=TB; compound=true; node [shape=box, style=filled, fontname=monospace, fontsize=10];\n  edge [fontname=monospace, fontsize=9];\n",
    );
    level(&mut out, picture, None, 1);
    for edge in &picture.edges {
        // Clusters cannot be ends of edges: their ports are, or where there is none, any box inside.
        let end = |group: usize, port: Option<usize>| -> Option<usize> {
            if picture.groups[group].kind == Kind::Loop {
                port.or_else(|| picture.inside(Some(group)).first().copied())
            } else {
                Some(group)
            }
        };
        if let Some((from, to)) = end(edge.from, edge.out_of).zip(end(edge.to, edge.into)) {
            let _ = writeln!(
                out,
                "  g{from} -> g{to} [label={}];",
                quoted(&format!("{} {}\n{}", edge.value, edge.shape, bytes(edge.bytes.into())))
            );
        }
    }
    out.push_str("}\n");
    out
}

fn level(out: &mut String, picture: &Picture, parent: Option<usize>, depth: usize) {
    let indent = "  ".repeat(depth);
    for g in picture.inside(parent) {
        let group = &picture.groups[g];
        let (fill, edge) = group.kind.colours();
        if group.kind == Kind::Loop {
            let _ = writeln!(
                out,
                "{indent}subgraph cluster_{g} {{\n{indent}  label={}; color=\"{edge}\"; bgcolor=\"{fill}\";",
                quoted(&group.title)
            );
            level(out, picture, Some(g), depth + 1);
            let _ = writeln!(out, "{indent}}}");
            continue;
        }
        let mut label = format!("{}   {}\n", group.title, footer(group));
        for line in shown(group) {
            label.push_str(&line);
            label.push('\n');
        }
        let _ = writeln!(out, "{indent}g{g} [label={}, fillcolor=\"{fill}\", color=\"{edge}\"];", quoted(&label).replace("\\n", "\\l"));
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
