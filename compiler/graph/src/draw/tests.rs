use super::layout::{Rect, layout};
use super::*;
use crate::{fuse, parse::parse, sample};
use std::collections::BTreeMap;

fn fused(graph: &Graph) -> Picture {
    let of: BTreeMap<(Vec<Value>, Value), u32> = fuse::assignment(graph).into_iter().map(|a| ((a.path, a.value), a.group)).collect();
    Picture::of_graph(graph, &|path, value| of.get(&(path.to_vec(), value)).copied())
}

fn plain(text: &str) -> Picture {
    let graph = parse(text).unwrap_or_else(|e| panic!("{e}"));
    crate::verify::verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
    Picture::of_graph(&graph, &|_, _| None)
}

const LAYERS: &str = "axis seq = 4\naxis model = 8\naxis unit = 8\naxis depth = 3\n\
    %0 = input x : f32[seq, model]\n%1 = param layer.w : f32[depth, model, unit]\n%2 = param out : f32[model, unit]\n\
    %3 = repeat along depth carry [%0] stacked [%1] with [] : f32[seq, model] {\n\
    %0 = argument 0 : f32[seq, model]\n%1 = argument 1 : f32[model, unit]\n\
    %2 = contract %0, %1 over [model] : f32[seq, unit] @ layer m.arch:7 1..2\n%3 = rename %2 [unit as model] : f32[seq, model]\n\
    %4 = const 0.5 : f32[]\n%5 = mul %3, %4 : f32[seq, model]\n%6 = add %0, %5 : f32[seq, model]\nyield [%6] collect [%2]\n}\n\
    %4 = project 0 of %3 : f32[seq, model]\n%5 = contract %4, %2 over [model] : f32[seq, unit]\noutput y [seq, unit] = %5\nupdate out [model, unit] = %2\n";

#[test]
fn a_loop_holds_its_body_between_ports() {
    let p = plain(LAYERS);
    let titles = |parent| p.inside(parent).iter().map(|&g| p.groups[g].title.clone()).collect::<Vec<_>>();
    assert_eq!(titles(None), ["x", "for each of 3 along depth", "contract", "y"]);
    let inner = p.groups.iter().position(|g| g.kind == Kind::Loop);
    assert_eq!(titles(inner), ["carry %0", "contract", "mul", "add", "next carry as %4", "collect"]);
    assert!(p.inside(inner).iter().all(|&g| p.groups[g].times == 3));
}

#[test]
fn parameters_and_constants_stand_in_the_box_that_reads_them() {
    let p = plain(LAYERS);
    let contract = p.groups.iter().find(|g| g.place == "layer (m.arch:7)").unwrap();
    assert_eq!(contract.stored, ["slice of layer.w f32[model, unit] 256 B"]);
    assert_eq!(contract.nodes[0].text, "%2 = contract %0, layer.w over [model] : f32[seq, unit]");
    assert_eq!(contract.nodes[0].detail, "%2 = contract %0, %1 over [model] : f32[seq, unit]  @ layer (m.arch:7)");
    assert_eq!((contract.flops, contract.bytes), (512, 128));
    let mul = p.groups.iter().find(|g| g.title == "mul").unwrap();
    assert_eq!(
        mul.nodes.iter().map(|l| l.text.as_str()).collect::<Vec<_>>(),
        ["%3 = rename %2 [unit as model] : f32[seq, model]", "%5 = mul %3, 0.5 : f32[seq, model]"]
    );
}

#[test]
fn edges_name_shape_and_bytes_and_the_ports_they_pass() {
    let p = plain(LAYERS);
    let repeat = p.groups.iter().position(|g| g.kind == Kind::Loop).unwrap();
    let edge = p.edges.iter().find(|e| e.from == repeat).unwrap();
    assert_eq!((edge.value.as_str(), edge.shape.as_str(), edge.bytes), ("%4", "f32[seq, model]", 128));
    assert_eq!(edge.out_of.map(|g| p.groups[g].title.as_str()), Some("next carry as %4"));
    let edge = p.edges.iter().find(|e| e.to == repeat).unwrap();
    assert_eq!(edge.into.map(|g| p.groups[g].title.as_str()), Some("carry %0"));
}

#[test]
fn nodes_of_one_group_share_a_box() {
    let graph =
        parse("axis a = 2\n%0 = input x : f32[a]\n%1 = exp %0 : f32[a]\n%2 = neg %1 : f32[a]\n%3 = exp %2 : f32[a]\noutput y [a] = %3\n")
            .unwrap();
    let p = Picture::of_graph(&graph, &|path, v| (path.is_empty() && v.0 > 0).then_some(7));
    assert_eq!(p.groups.len(), 3);
    assert_eq!((p.groups[1].title.as_str(), p.groups[1].nodes.len()), ("exp, neg", 3));
    assert_eq!(p.groups[1].bytes, 8, "only what leaves the group is written");
}

fn inside(inner: &Rect, outer: &Rect) -> bool {
    inner.x >= outer.x && inner.y >= outer.y && inner.x + inner.w <= outer.x + outer.w + 0.1 && inner.y + inner.h <= outer.y + outer.h + 0.1
}

fn overlap(a: &Rect, b: &Rect) -> bool {
    a.x + a.w > b.x + 0.1 && b.x + b.w > a.x + 0.1 && a.y + a.h > b.y + 0.1 && b.y + b.h > a.y + 0.1
}

#[test]
fn boxes_never_overlap_and_stay_inside_their_loops() {
    for seed in 0..120 {
        let graph = sample::graph(seed, 50);
        for p in [Picture::of_graph(&graph, &|_, _| None), fused(&graph)] {
            let l = layout(&p);
            let page = Rect { x: 0.0, y: 0.0, w: l.width, h: l.height };
            for (i, group) in p.groups.iter().enumerate() {
                let outer = group.parent.map_or(page, |g| l.boxes[g]);
                assert!(inside(&l.boxes[i], &outer), "{seed}: {} {:?} in {outer:?}", group.title, l.boxes[i]);
                for j in i + 1..p.groups.len() {
                    assert!(
                        group.parent != p.groups[j].parent || !overlap(&l.boxes[i], &l.boxes[j]),
                        "{seed}: {} and {}",
                        group.title,
                        p.groups[j].title
                    );
                }
            }
        }
    }
}

#[test]
fn lines_run_from_the_foot_of_their_maker_to_the_head_of_their_reader() {
    for seed in 0..60 {
        let p = fused(&sample::graph(seed, 50));
        let l = layout(&p);
        assert_eq!(l.routes.len(), p.edges.len());
        for route in &l.routes {
            let (from, to) = (l.boxes[p.edges[route.edge].from], l.boxes[p.edges[route.edge].to]);
            let (first, last) = (route.points[0], route.points[route.points.len() - 1]);
            assert!((first.1 - from.y - from.h).abs() < 0.1 && first.0 >= from.x && first.0 <= from.x + from.w, "{seed}");
            assert!((last.1 - to.y).abs() < 0.1 && last.0 >= to.x && last.0 <= to.x + to.w, "{seed}");
        }
    }
}

/// Checks that tags nest; gives how often each opens.
fn well_formed(xml: &str) -> BTreeMap<String, usize> {
    let mut open: Vec<String> = Vec::new();
    let mut seen = BTreeMap::new();
    for tag in xml.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').unwrap_or_else(|| panic!("`{tag}` does not end"));
        assert!(!text.replace("&lt;", "").replace("&gt;", "").replace("&amp;", "").replace("&quot;", "").contains('&'), "bare & in {text}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
        } else {
            let name = tag.split([' ', '/']).next().unwrap_or_default().to_string();
            *seen.entry(name.clone()).or_default() += 1;
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
    }
    assert!(open.is_empty(), "{open:?} are not closed");
    seen
}

#[test]
fn svg_is_well_formed_whatever_names_hold() {
    let p = plain(
        "axis \"<a&b>\\\"\" = 2\n%0 = input \"<script>&\\n\" : f32[\"<a&b>\\\"\"]\n%1 = neg %0 : f32[\"<a&b>\\\"\"]\noutput y [\"<a&b>\\\"\"] = %1\n",
    );
    assert!(!svg(&p).contains("<script"));
    assert!(!html(&p, "</title><script>x").contains("<script>x"));
    for seed in 0..60 {
        let p = fused(&sample::graph(seed, 40));
        let tags = well_formed(&svg(&p));
        assert_eq!(tags["g"], p.groups.len());
        assert_eq!(svg(&p), svg(&p));
    }
}

#[test]
fn the_page_needs_nothing_from_outside() {
    let page = html(&plain(LAYERS), "layers");
    assert!(page.contains("<title>layers</title>"));
    let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!elsewhere.contains("http") && !elsewhere.contains("src=") && !elsewhere.contains("import"));
}

#[test]
fn json_lists_every_box_and_edge() {
    let p = plain(LAYERS);
    let text = json(&p);
    assert_eq!(text.matches("\"id\":").count(), p.groups.len());
    assert_eq!(text.matches("\"from\":").count(), p.edges.len());
    assert!(text.contains("{\"id\":1,\"title\":\"for each of 3 along depth\",\"kind\":\"loop\""));
    assert_eq!(text.matches('{').count(), text.matches('}').count());
}

#[test]
fn dot_draws_loops_as_clusters_and_edges_between_boxes_only() {
    let p = plain(LAYERS);
    let text = dot(&p);
    assert!(text.contains("subgraph cluster_1 {"));
    assert_eq!(text.matches(" -> ").count(), p.edges.len());
    assert!(!text.contains("g1 ->") && !text.contains("-> g1 "));
}

#[test]
fn numbers_keep_two_to_four_digits() {
    assert_eq!([short(0), short(999), short(1500), short(92_100_000_000)], ["0", "999", "1.5 k", "92.1 G"]);
    assert_eq!([bytes(4), bytes(1536), bytes(6 << 20)], ["4 B", "1.5 KiB", "6.0 MiB"]);
}
