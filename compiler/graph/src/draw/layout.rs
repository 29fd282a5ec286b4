//! Where everything goes: layers from top to bottom, loops laid out first and then placed as one box.
//!
//! A value that several boxes read leaves its maker as one trunk and branches late; long trunks pass between boxes through points of their
//! own. Boxes of a layer are ordered by the middle of their neighbours, and then placed as near as their widths allow to where these are.

use super::{Edge, Group, Kind, Picture, Side};
use std::collections::{BTreeMap, BTreeSet};

/// Width of a letter of the body text.
pub(super) const LETTER: f64 = 6.3;
/// Height of a line of the body text.
pub(super) const ROW: f64 = 14.0;
/// Height of a box's heading.
pub(super) const HEAD: f64 = 22.0;
/// Lines of text shown in a box.
pub(super) const SHOWN: usize = 14;
/// Letters shown of a line.
pub(super) const WIDEST: usize = 76;
const GAP: f64 = 26.0;
/// Height of a value's text under its maker.
pub(super) const LABEL: f64 = 12.0;
const BETWEEN: f64 = 40.0;
const PAD: f64 = 22.0;

/// A rectangle, by its upper left corner.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) w: f64,
    pub(super) h: f64,
}

/// A value's way from its maker through points to its readers.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// The edge in the picture.
    pub(super) edge: usize,
    /// Where it bends, from maker to reader.
    pub(super) points: Vec<(f64, f64)>,
    /// Whether this edge carries the value's text (the first of a trunk).
    pub(super) labelled: bool,
    /// How many values leave the maker to the left of this one: texts of neighbours stand at different heights.
    pub(super) step: usize,
}

/// Places of all boxes and ways of all edges.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    pub(super) boxes: Vec<Rect>,
    pub(super) routes: Vec<Route>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// The lines of text that a box shows: nodes, then stored tensors.
pub(super) fn shown(group: &Group) -> Vec<String> {
    let cut = |text: &str| -> String {
        if text.chars().count() <= WIDEST { text.to_string() } else { text.chars().take(WIDEST - 1).chain(['…']).collect() }
    };
    if group.kind == Kind::Loop {
        return Vec::new();
    }
    let mut lines: Vec<String> = group.nodes.iter().take(SHOWN).map(|l| cut(&l.text)).collect();
    if group.nodes.len() > SHOWN {
        lines.push(format!("… {} more", group.nodes.len() - SHOWN));
    }
    lines.extend(group.stored.iter().take(6).map(|s| cut(&if s.starts_with("=>") { s.clone() } else { format!("reads {s}") })));
    if group.stored.len() > 6 {
        lines.push(format!("… {} more", group.stored.len() - 6));
    }
    lines
}

/// What a box costs, in short; ports say their size.
pub(super) fn footer(group: &Group) -> String {
    match group.kind {
        Kind::Input | Kind::Output | Kind::Port => super::bytes(group.bytes),
        _ => {
            let times = if group.times > 1 && group.kind != Kind::Loop { format!("  × {}", group.times) } else { String::new() };
            let writes = if group.bytes > 0 { format!("  writes {}", super::bytes(group.bytes)) } else { String::new() };
            let all = if group.kind == Kind::Loop { " in all" } else { "" };
            format!("{} flop{all}{writes}{times}", super::short(group.flops))
        }
    }
}

/// A value's text: what it is, its shape and size.
pub(super) fn words(edge: &Edge) -> String {
    format!("{} {}  {}", edge.value, edge.shape, super::bytes(edge.bytes.into()))
}

/// Lays out a picture.
pub(super) fn layout(picture: &Picture) -> Layout {
    let mut l = Layout { boxes: vec![Rect::default(); picture.groups.len()], ..Layout::default() };
    let (w, h) = region(picture, None, &mut l);
    l.width = w + 2.0 * PAD;
    l.height = h + 2.0 * PAD;
    shift(picture, None, &mut l, PAD, PAD);
    l
}

/// Moves everything inside a loop.
fn shift(picture: &Picture, parent: Option<usize>, l: &mut Layout, dx: f64, dy: f64) {
    for g in picture.inside(parent) {
        l.boxes[g].x += dx;
        l.boxes[g].y += dy;
        shift(picture, Some(g), l, dx, dy);
    }
    for route in l.routes.iter_mut().filter(|r| picture.groups[picture.edges[r.edge].from].parent == parent) {
        for p in &mut route.points {
            p.0 += dx;
            p.1 += dy;
        }
    }
}

fn size(picture: &Picture, g: usize, l: &mut Layout) -> (f64, f64) {
    let group = &picture.groups[g];
    let wide = |text: &str, letter: f64| text.chars().count() as f64 * letter;
    if group.kind == Kind::Loop {
        let (w, h) = region(picture, Some(g), l);
        let head = wide(&group.title, 8.0) + wide(&footer(group), LETTER) + 60.0;
        return ((w + 2.0 * PAD + 20.0).max(head), h + HEAD + 2.0 * PAD);
    }
    let lines = shown(group);
    let body = lines.iter().map(|t| wide(t, LETTER)).fold(0.0, f64::max);
    let title = wide(&group.title, 7.2) + wide(&footer(group), LETTER) + 24.0;
    (
        body.max(title).max(wide(&group.place, LETTER)) + 20.0,
        HEAD + ROW * lines.len() as f64 + if group.place.is_empty() { 6.0 } else { ROW + 6.0 },
    )
}

/// A box or a bend.
struct Item {
    group: Option<usize>,
    /// For a bend: the trunk that it belongs to.
    trunk: Option<usize>,
    layer: usize,
    w: f64,
    h: f64,
    x: f64,
    above: Vec<usize>,
    below: Vec<usize>,
}

/// Lays out the boxes inside a loop (or at the top) from (0, 0); gives the size of all.
fn region(picture: &Picture, parent: Option<usize>, l: &mut Layout) -> (f64, f64) {
    let members = picture.inside(parent);
    if members.is_empty() {
        return (40.0, 10.0);
    }
    let edges: Vec<usize> = (0..picture.edges.len()).filter(|&e| picture.groups[picture.edges[e].from].parent == parent).collect();
    let layers = layers(picture, &members, &edges);
    let mut items: Vec<Item> = Vec::new();
    let mut of: BTreeMap<usize, usize> = BTreeMap::new();
    for &g in &members {
        let (w, h) = size(picture, g, l);
        of.insert(g, items.len());
        items.push(Item { group: Some(g), trunk: None, layer: layers[&g], w, h, x: 0.0, above: Vec::new(), below: Vec::new() });
    }
    // One bend for each layer that a value passes, shared by all its readers.
    let mut bends: BTreeMap<(usize, &str, usize), usize> = BTreeMap::new();
    let mut ways: Vec<(usize, Vec<usize>)> = Vec::new();
    for &e in &edges {
        let edge = &picture.edges[e];
        let (from, to) = (of[&edge.from], of[&edge.to]);
        let mut way = vec![from];
        for layer in items[from].layer + 1..items[to].layer {
            let bend = *bends.entry((edge.from, &edge.value, layer)).or_insert_with(|| {
                items.push(Item { group: None, trunk: None, layer, w: 8.0, h: 0.0, x: 0.0, above: Vec::new(), below: Vec::new() });
                items.len() - 1
            });
            way.push(bend);
        }
        way.push(to);
        for pair in way.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            if items[a].layer < items[b].layer && !items[a].below.contains(&b) {
                items[a].below.push(b);
                items[b].above.push(a);
            }
        }
        ways.push((e, way));
    }
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); items.iter().map(|i| i.layer + 1).max().unwrap_or(1)];
    for (i, item) in items.iter().enumerate() {
        rows[item.layer].push(i);
    }
    let mut trunks: BTreeMap<(usize, &str), Vec<usize>> = BTreeMap::new();
    for (&(maker, value, _), &bend) in &bends {
        trunks.entry((maker, value)).or_default().push(bend);
    }
    let trunks: Vec<Vec<usize>> = trunks.into_values().collect();
    for (t, trunk) in trunks.iter().enumerate() {
        trunk.iter().for_each(|&bend| items[bend].trunk = Some(t));
    }
    order(&mut items, &mut rows);
    place(&mut items, &rows, &trunks);
    heights(picture, l, parent, items, &rows, ways)
}

/// The layer of each box: below all it reads from, and inputs right above their first reader.
fn layers(picture: &Picture, members: &[usize], edges: &[usize]) -> BTreeMap<usize, usize> {
    let mut layer: BTreeMap<usize, usize> = members.iter().map(|&g| (g, 0)).collect();
    // Grouping may make circles; those who care keep a bound of one round for each box.
    for _ in 0..members.len() {
        let mut changed = false;
        for &e in edges {
            let edge = &picture.edges[e];
            let below = layer[&edge.from] + 1;
            if layer[&edge.to] < below && below < members.len() {
                layer.insert(edge.to, below);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    // Boxes that are read late move down to their readers, last first.
    for &g in members.iter().rev() {
        let feeds_from = edges.iter().any(|&e| picture.edges[e].to == g);
        let readers = edges.iter().filter(|&&e| picture.edges[e].from == g).map(|&e| layer[&picture.edges[e].to]).min();
        if let Some(first) = readers
            && !feeds_from
            && picture.groups[g].side != Side::Top
        {
            layer.insert(g, first.saturating_sub(1));
        }
    }
    let last = members.iter().filter(|&&g| picture.groups[g].side != Side::Bottom).map(|g| layer[g]).max().unwrap_or(0);
    for &g in members {
        if picture.groups[g].side == Side::Bottom {
            layer.insert(g, last + 1);
        }
    }
    layer
}

/// Orders each row by the middle of its neighbours, sweeping down and up.
fn order(items: &mut [Item], rows: &mut [Vec<usize>]) {
    let number = |items: &mut [Item], row: &[usize]| {
        for (at, &i) in row.iter().enumerate() {
            items[i].x = at as f64;
        }
    };
    rows.iter().for_each(|row| number(items, row));
    for sweep in 0..16 {
        let down = sweep % 2 == 0;
        let count = rows.len();
        for step in 0..count {
            let row = &mut rows[if down { step } else { count - 1 - step }];
            let middle = |i: usize| {
                let near = if down { &items[i].above } else { &items[i].below };
                if near.is_empty() { items[i].x } else { near.iter().map(|&n| items[n].x).sum::<f64>() / near.len() as f64 }
            };
            let mut keyed: Vec<(f64, usize)> = row.iter().map(|&i| (middle(i), i)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            *row = keyed.into_iter().map(|k| k.1).collect();
            number(items, row);
        }
    }
}

/// Gives each item a centre: near its neighbours, in the row's order, without overlap.
fn place(items: &mut [Item], rows: &[Vec<usize>], trunks: &[Vec<usize>]) {
    for row in rows {
        let mut x = 0.0;
        for &i in row {
            items[i].x = x + items[i].w / 2.0;
            x += items[i].w + GAP;
        }
    }
    let mean = |items: &[Item], near: &[usize]| near.iter().map(|&n| items[n].x).sum::<f64>() / near.len() as f64;
    for sweep in 0..16 {
        for step in 0..rows.len() {
            let row = &rows[if sweep % 2 == 0 { step } else { rows.len() - 1 - step }];
            let wish = |item: &Item| {
                let near = if sweep % 2 == 0 { &item.above } else { &item.below };
                if near.is_empty() { item.x } else { mean(items, near) }
            };
            let wishes = row.iter().map(|&i| wish(&items[i])).collect();
            settle(items, row, wishes);
        }
    }
    // Long trunks become straight: all bends of one want to stand where they stand on average.
    for _ in 0..40 {
        let average: Vec<f64> = trunks.iter().map(|t| mean(items, t)).collect();
        for row in rows {
            let wish = |item: &Item| match item.trunk {
                Some(t) => average[t],
                None => {
                    let near: Vec<usize> = item.above.iter().chain(&item.below).copied().collect();
                    if near.is_empty() { item.x } else { mean(items, &near) }
                }
            };
            let wishes = row.iter().map(|&i| wish(&items[i])).collect();
            settle(items, row, wishes);
        }
    }
}

/// Moves a row as near as it can be to where its items want to stand.
fn settle(items: &mut [Item], row: &[usize], wishes: Vec<f64>) {
    let weights: Vec<f64> = row.iter().map(|&i| if items[i].group.is_none() { 8.0 } else { 1.0 }).collect();
    let gaps: Vec<f64> = row.windows(2).map(|p| (items[p[0]].w + items[p[1]].w) / 2.0 + GAP).collect();
    for (&i, x) in row.iter().zip(nearest(&wishes, &weights, &gaps)) {
        items[i].x = x;
    }
}

/// The places nearest to the wishes (least squares) that keep the gaps: pooling of adjacent violators.
fn nearest(wishes: &[f64], weights: &[f64], gaps: &[f64]) -> Vec<f64> {
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(wishes.len());
    // (mean, weight, members) of each pool, after taking the offsets off.
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for (i, (&wish, &weight)) in wishes.iter().zip(weights).enumerate() {
        if i > 0 {
            offset += gaps[i - 1];
        }
        offsets.push(offset);
        pools.push((wish - offset, weight, 1));
        while let [.., a, b] = pools.as_slice()
            && a.0 > b.0
        {
            let merged = ((a.0 * a.1 + b.0 * b.1) / (a.1 + b.1), a.1 + b.1, a.2 + b.2);
            pools.truncate(pools.len() - 2);
            pools.push(merged);
        }
    }
    let spread = pools.iter().flat_map(|&(mean, _, n)| std::iter::repeat_n(mean, n));
    spread.zip(offsets).map(|(mean, offset)| mean + offset).collect()
}

/// Stacks the rows, writes boxes and routes down, and moves all to (0, 0).
fn heights(
    picture: &Picture,
    l: &mut Layout,
    parent: Option<usize>,
    items: Vec<Item>,
    rows: &[Vec<usize>],
    ways: Vec<(usize, Vec<usize>)>,
) -> (f64, f64) {
    let left = items.iter().map(|i| i.x - i.w / 2.0).fold(f64::MAX, f64::min);
    let mut right = items.iter().map(|i| i.x + i.w / 2.0 - left).fold(0.0, f64::max);
    // Boxes of a row stand on one line, so that the texts of their values lie between the rows.
    let mut tops = Vec::with_capacity(rows.len());
    let mut bottoms: Vec<f64> = Vec::with_capacity(rows.len());
    let mut y = 0.0;
    for row in rows {
        let values = |g: usize| {
            let leaving = ways.iter().map(|w| &picture.edges[w.0]).filter(|e| e.from == g).map(|e| e.value.as_str());
            leaving.collect::<BTreeSet<_>>().len()
        };
        let most = row.iter().filter_map(|&i| items[i].group).map(values).max().unwrap_or(0);
        tops.push(y);
        y += row.iter().map(|&i| items[i].h).fold(0.0, f64::max);
        bottoms.push(y);
        y += BETWEEN + LABEL * most.max(1) as f64;
    }
    for item in &items {
        let Some(g) = item.group else { continue };
        let rect = Rect { x: item.x - item.w / 2.0 - left, y: bottoms[item.layer] - item.h, w: item.w, h: item.h };
        l.boxes[g] = rect;
        if picture.groups[g].kind == Kind::Loop {
            let content = picture.inside(Some(g)).iter().map(|&c| l.boxes[c].x + l.boxes[c].w).fold(0.0, f64::max);
            shift(picture, Some(g), l, rect.x + (item.w - content) / 2.0, rect.y + HEAD + PAD);
        }
    }
    let ends = Ends::of(picture, l, parent, &ways);
    let mut trunks: BTreeSet<(usize, &str)> = BTreeSet::new();
    for (e, way) in &ways {
        let edge = &picture.edges[*e];
        let (start, step) = ends.start[e];
        let from = l.boxes[edge.from].y + l.boxes[edge.from].h;
        // Straight down past the values' texts, then bent.
        let mut points = vec![(start, from), (start, from + LABEL * (step + 1) as f64 + 2.0)];
        for &bend in &way[1..way.len() - 1] {
            let (x, layer) = (items[bend].x - left, items[bend].layer);
            points.extend([(x, tops[layer]), (x, bottoms[layer])]);
        }
        let (end, to) = (ends.end[e], l.boxes[edge.to]);
        let row = way.last().map_or(to.y, |&i| tops[items[i].layer]);
        if row < to.y {
            points.push((end, row));
        }
        points.push((end, to.y));
        let labelled = trunks.insert((edge.from, &edge.value));
        if labelled {
            right = right.max(start + 8.0 + words(edge).chars().count() as f64 * LETTER * 0.9);
        }
        l.routes.push(Route { edge: *e, points, labelled, step });
    }
    (right, bottoms.last().copied().unwrap_or(0.0))
}

/// Where edges leave and enter their boxes.
struct Ends {
    /// With the number of values that leave to the left.
    start: BTreeMap<usize, (f64, usize)>,
    end: BTreeMap<usize, f64>,
}

impl Ends {
    fn of(picture: &Picture, l: &Layout, parent: Option<usize>, ways: &[(usize, Vec<usize>)]) -> Ends {
        let centre = |g: usize| l.boxes[g].x + l.boxes[g].w / 2.0;
        let mut ends = Ends { start: BTreeMap::new(), end: BTreeMap::new() };
        for g in picture.inside(parent) {
            let rect = l.boxes[g];
            // Values that leave: one place each, ordered by where they go.
            let mut leaving: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
            for (e, _) in ways.iter().filter(|w| picture.edges[w.0].from == g) {
                leaving.entry(&picture.edges[*e].value).or_default().push(*e);
            }
            let goal = |list: &Vec<usize>| list.iter().map(|&e| centre(picture.edges[e].to)).sum::<f64>() / list.len() as f64;
            let mut leaving: Vec<Vec<usize>> = leaving.into_values().collect();
            leaving.sort_by(|a, b| goal(a).total_cmp(&goal(b)));
            let count = leaving.len() as f64;
            for (i, list) in leaving.iter().enumerate() {
                for &e in list {
                    let x = picture.edges[e].out_of.map_or(rect.x + rect.w * (i as f64 + 1.0) / (count + 1.0), centre);
                    ends.start.insert(e, (x, i));
                }
            }
            let mut entering: Vec<usize> = ways.iter().map(|w| w.0).filter(|&e| picture.edges[e].to == g).collect();
            entering.sort_by(|&a, &b| centre(picture.edges[a].from).total_cmp(&centre(picture.edges[b].from)));
            let count = entering.len() as f64;
            for (i, &e) in entering.iter().enumerate() {
                let x = picture.edges[e].into.map_or(rect.x + rect.w * (i as f64 + 1.0) / (count + 1.0), centre);
                ends.end.insert(e, x);
            }
        }
        ends
    }
}
