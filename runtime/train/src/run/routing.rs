//! Routing statistics: how the selections of a model spread over their places.

use super::evaluate::Evaluation;
use crate::data::Part;
use ogive_graph::Graph;
use ogive_graph::load::Load;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Shares of more places than this are not listed.
const LISTED: usize = 1024;

/// What a selection chose.
#[derive(Clone, PartialEq, Debug)]
pub struct Routing {
    /// Path of the block that selects.
    pub path: String,
    /// Line of the selection in its file.
    pub line: u32,
    /// The dim that is chosen from.
    pub place: String,
    /// One for each layer, head or the like.
    pub groups: Vec<Group>,
}

/// Picks of one layer, head or the like.
#[derive(Clone, PartialEq, Debug)]
pub struct Group {
    /// Such as `depth 1, head 0`; empty where there is one group.
    pub name: String,
    /// Share of the picks of each place; together 1.
    pub shares: Vec<f64>,
}

impl Group {
    /// Places that were never chosen.
    pub fn dead(&self) -> usize {
        self.shares.iter().filter(|s| **s == 0.0).count()
    }

    /// Entropy of the shares in nats: the logarithm of the number of places where all are chosen equally often, 0 where one takes all.
    pub fn entropy(&self) -> f64 {
        self.shares.iter().filter(|s| **s > 0.0).map(|s| -s * s.ln()).sum::<f64>().max(0.0)
    }
}

impl Routing {
    /// From counts, row-major over the groups and the places.
    pub(super) fn of(load: &Load, graph: &Graph, counts: &[f64]) -> Routing {
        let places = graph.size(load.place) as usize;
        let group = |(i, counts): (usize, &[f64])| {
            let (mut left, mut parts) = (i as u64, Vec::new());
            for &axis in load.groups.iter().rev() {
                parts.insert(0, format!("{} {}", graph.name(axis), left % graph.size(axis)));
                left /= graph.size(axis);
            }
            let all: f64 = counts.iter().sum();
            Group { name: parts.join(", "), shares: counts.iter().map(|c| c / all.max(1.0)).collect() }
        };
        Routing {
            path: load.origin.path.to_string(),
            line: load.origin.line,
            place: graph.name(load.place).to_owned(),
            groups: counts.chunks_exact(places.max(1)).enumerate().map(group).collect(),
        }
    }

    /// Share of places that were never chosen.
    pub fn dead(&self) -> f64 {
        let (dead, all) = self.groups.iter().fold((0, 0), |(d, n), g| (d + g.dead(), n + g.shares.len()));
        dead as f64 / all.max(1) as f64
    }

    /// Mean entropy as a share of the largest, that of equal shares.
    pub fn entropy(&self) -> f64 {
        let of = |g: &Group| if g.shares.len() > 1 { g.entropy() / (g.shares.len() as f64).ln() } else { 1.0 };
        self.groups.iter().map(of).sum::<f64>() / self.groups.len().max(1) as f64
    }

    /// For `metrics.jsonl`.
    pub fn json(&self) -> Value {
        let groups = self.groups.iter().map(|g| {
            let mut value = json!({ "dead": g.dead(), "entropy": g.entropy() });
            if !g.name.is_empty() {
                value["group"] = g.name.clone().into();
            }
            if g.shares.len() <= LISTED {
                value["shares"] = g.shares.iter().map(|s| (s * 1e6).round() / 1e6).collect::<Vec<f64>>().into();
            }
            value
        });
        json!({ "path": self.path, "line": self.line, "dim": self.place, "groups": groups.collect::<Vec<Value>>() })
    }
}

/// `routing_dead` and `routing_entropy`: means over all selections; none where there is none.
pub(super) fn summary(all: &[Routing]) -> Vec<(String, f64)> {
    if all.is_empty() {
        return Vec::new();
    }
    let mean = |of: fn(&Routing) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
    vec![("routing_dead".into(), mean(Routing::dead)), ("routing_entropy".into(), mean(Routing::entropy))]
}

/// What a line of `metrics.jsonl` says of selections: `validation.routing` and the like.
pub(super) fn by_part(evaluations: &BTreeMap<Part, Evaluation>) -> Map<String, Value> {
    let chosen = evaluations.iter().filter(|(_, e)| !e.routing.is_empty());
    chosen.map(|(part, e)| (format!("{}.routing", part.name()), e.routing.iter().map(Routing::json).collect())).collect()
}
