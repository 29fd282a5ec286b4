//! A picture as SVG that stands alone: no scripts, no fonts to fetch; every box and line explains itself when pointed at.

use super::layout::{HEAD, LABEL, Layout, ROW, Rect, Route, footer, layout, shown, words};
use super::{Group, Kind, Picture, Side, bytes, escaped};
use std::fmt::Write;

/// The picture as an SVG document.
pub fn svg(picture: &Picture) -> String {
    let l = layout(picture);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {:.0}\" width=\"{:.0}\" height=\"{:.0}\" font-family=\"ui-monospace, 'DejaVu Sans Mono', monospace\" font-size=\"10.5\">\n",
        l.width, l.height, l.width, l.height
    );
    out.push_str(
        "<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" orient=\"auto\">\
         <path d=\"M0 0L8 4L0 8z\" fill=\"#57606a\"/></marker></defs>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
    );
    level(&mut out, picture, &l, None);
    out.push_str("</svg>\n");
    out
}

/// The boxes inside a loop, then their lines on top; loops hold their own level.
fn level(out: &mut String, picture: &Picture, l: &Layout, parent: Option<usize>) {
    for g in picture.inside(parent) {
        let group = &picture.groups[g];
        match group.kind {
            Kind::Loop => repeat(out, picture, l, g),
            _ => plain(out, group, l.boxes[g], g),
        }
    }
    let mine: Vec<&Route> = l.routes.iter().filter(|r| picture.groups[picture.edges[r.edge].from].parent == parent).collect();
    for route in &mine {
        line(out, picture, route);
    }
    for route in mine.iter().filter(|r| r.labelled) {
        label(out, picture, route);
    }
}

fn hover(group: &Group) -> String {
    let mut text = format!("{}\n{}", group.title, footer(group));
    if !group.place.is_empty() {
        let _ = write!(text, "\n{}", group.place);
    }
    for line in &group.nodes {
        let _ = write!(text, "\n{}", line.detail);
    }
    for stored in &group.stored {
        let _ = write!(text, "\n{}{stored}", if stored.starts_with("=>") { "" } else { "reads " });
    }
    escaped(&text)
}

fn plain(out: &mut String, group: &Group, r: Rect, id: usize) {
    let (fill, edge) = group.kind.colours();
    let round = if matches!(group.kind, Kind::Input | Kind::Output | Kind::Port) { 10.0 } else { 4.0 };
    let _ = writeln!(out, "<g class=\"box {}\" data-id=\"{id}\"><title>{}</title>", group.kind.name(), hover(group));
    let _ = writeln!(
        out,
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{round}\" fill=\"{fill}\" stroke=\"{edge}\" stroke-width=\"1.3\"/>",
        r.x, r.y, r.w, r.h
    );
    text(out, r.x + 10.0, r.y + 15.0, "font-size=\"12\" font-weight=\"bold\"", &group.title);
    let cost = footer(group);
    text(out, r.x + r.w - 10.0, r.y + 15.0, "text-anchor=\"end\" fill=\"#57606a\"", &cost);
    let mut y = r.y + HEAD + 9.0;
    if !group.place.is_empty() {
        text(out, r.x + 10.0, y, "fill=\"#6e7781\" font-style=\"italic\"", &group.place);
        y += ROW;
    }
    for line in shown(group) {
        let style = if line.starts_with("reads ") || line.starts_with("=>") { "fill=\"#1f6feb\"" } else { "fill=\"#24292f\"" };
        text(out, r.x + 10.0, y, style, &line);
        y += ROW;
    }
    out.push_str("</g>\n");
}

fn repeat(out: &mut String, picture: &Picture, l: &Layout, g: usize) {
    let group = &picture.groups[g];
    let (fill, edge) = group.kind.colours();
    let r = l.boxes[g];
    let _ = writeln!(out, "<g class=\"box loop\" data-id=\"{g}\"><title>{}</title>", hover(group));
    let _ = writeln!(
        out,
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"8\" fill=\"{fill}\" stroke=\"{edge}\" stroke-width=\"2\"/>",
        r.x, r.y, r.w, r.h
    );
    let _ = writeln!(
        out,
        "<path d=\"M{:.1} {:.1}h{:.1}v-14a8 8 0 0 0 -8 -8h{:.1}a8 8 0 0 0 -8 8z\" fill=\"{edge}\"/>",
        r.x,
        r.y + HEAD,
        r.w,
        16.0 - r.w
    );
    text(out, r.x + 12.0, r.y + 15.0, "font-size=\"12.5\" font-weight=\"bold\" fill=\"#ffffff\"", &format!("⟳ {}", group.title));
    text(out, r.x + r.w - 12.0, r.y + 15.0, "text-anchor=\"end\" fill=\"#ffffff\"", &footer(group));
    out.push_str("</g>\n");
    level(out, picture, l, Some(g));
    back(out, picture, l, g);
}

/// The way of carries from the end of an iteration to the start of the next, along the left border.
fn back(out: &mut String, picture: &Picture, l: &Layout, g: usize) {
    let ports = |side: Side, title: &str| -> Vec<usize> {
        let of = picture.inside(Some(g)).into_iter();
        of.filter(|&p| picture.groups[p].side == side && picture.groups[p].title.starts_with(title)).collect()
    };
    let (r, edge) = (l.boxes[g], Kind::Loop.colours().1);
    for (i, (end, start)) in ports(Side::Bottom, "next carry").into_iter().zip(ports(Side::Top, "carry")).enumerate() {
        let (from, to) = (l.boxes[end], l.boxes[start]);
        let x = r.x + 7.0 + 3.0 * (i % 4) as f64;
        let (low, high) = (from.y + from.h + 7.0 + 3.0 * (i % 4) as f64, to.y - 7.0 - 3.0 * (i % 4) as f64);
        let _ = writeln!(
            out,
            "<path d=\"M{:.1} {:.1}V{low:.1}H{x:.1}V{high:.1}H{:.1}V{:.1}\" fill=\"none\" stroke=\"{edge}\" stroke-width=\"1.2\" stroke-dasharray=\"5 3\" marker-end=\"url(#tip)\"/>",
            from.x + from.w / 2.0,
            from.y + from.h,
            to.x + 14.0,
            to.y
        );
    }
}

fn line(out: &mut String, picture: &Picture, route: &Route) {
    let edge = &picture.edges[route.edge];
    let mut path = String::new();
    for (i, &(x, y)) in route.points.iter().enumerate() {
        if i == 0 {
            let _ = write!(path, "M{x:.1} {y:.1}");
            continue;
        }
        let (px, py) = route.points[i - 1];
        let bend = (y - py) / 2.0;
        let _ = if (px - x).abs() < 0.5 {
            write!(path, "L{x:.1} {y:.1}")
        } else {
            write!(path, "C{px:.1} {:.1} {x:.1} {:.1} {x:.1} {y:.1}", py + bend, y - bend)
        };
    }
    let width = 1.0 + (edge.bytes.max(1) as f64).log2() / 14.0;
    let _ = writeln!(
        out,
        "<path class=\"edge\" data-from=\"{}\" data-to=\"{}\" d=\"{path}\" fill=\"none\" stroke=\"#57606a\" stroke-opacity=\"0.75\" stroke-width=\"{width:.1}\" marker-end=\"url(#tip)\">\
         <title>{} : {}  {}</title></path>",
        edge.from,
        edge.to,
        escaped(&edge.value),
        escaped(&edge.shape),
        bytes(edge.bytes.into())
    );
}

fn label(out: &mut String, picture: &Picture, route: &Route) {
    let edge = &picture.edges[route.edge];
    let Some(&(x, y)) = route.points.first() else { return };
    let words = words(edge);
    let y = y + LABEL * route.step as f64;
    // A white rim keeps it readable where lines pass behind.
    let style = "font-size=\"9.5\" fill=\"#424a53\" stroke=\"#ffffff\" stroke-width=\"2\" stroke-linejoin=\"round\" paint-order=\"stroke\"";
    text(out, x + 5.0, y + 12.5, style, &words);
}

fn text(out: &mut String, x: f64, y: f64, style: &str, words: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" xml:space=\"preserve\" {style}>{}</text>", escaped(words));
}
