//! Sweeps: every combination of the values, as settings.

use super::super::body::{Body, Eval};
use super::super::context::Cx;
use super::super::items::Items;
use super::super::root::with_stack;
use super::super::settings::{Keys, Settings};
use super::super::table::Table;
use super::super::value::{Const, Val};
use super::keys;
use super::model_of;
use crate::codes;
use crate::diag::{Diagnostic, Diagnostics};
use crate::hir::experiment::Point;
use crate::spec::Spec;
use crate::syntax::{Expr, ExprKind, Sweep};
use std::rc::Rc;

/// Most points of a sweep.
const MAX_POINTS: usize = 10_000;

/// The points of all sweeps over an experiment, in the order of the file; the last key varies fastest. Keys that `settings` set stay
/// as set.
pub fn sweep(spec: &Spec, name: &str, settings: &Settings) -> (Option<Vec<Point>>, Diagnostics) {
    with_stack(|| {
        let items = Items::new(spec);
        let mut cx = Cx::new(&items, settings.training);
        let mut points = Vec::new();
        for sweep in spec.sweeps().filter(|s| s.of.name == name) {
            points.extend(self::points(spec, sweep, settings, &mut cx));
        }
        cx.out.sort(&spec.sources);
        let fine = !cx.out.has_errors();
        (fine.then_some(points), cx.out)
    })
}

/// The points of one sweep; what is wrong is reported.
pub(crate) fn points<'a>(spec: &'a Spec, sweep: &'a Sweep, settings: &Settings, cx: &mut Cx<'a>) -> Vec<Point> {
    let Some((_, experiment)) = spec.experiment(spec.root, &sweep.of.name) else { return Vec::new() };
    let model = model_of(spec, experiment);
    if sweep.axes.is_empty() || sweep.axes.iter().any(|a| a.values.is_empty()) {
        let at = sweep.axes.iter().find(|a| a.values.is_empty()).map_or(sweep.span, |a| a.span);
        let message = format!("the sweep of `{}` has nothing to vary", sweep.of.name);
        cx.report(Diagnostic::error(codes::sweep::EMPTY, message, at, "no values").help("give keys with values: `seed in [1, 2, 3]`"));
        return Vec::new();
    }
    let mut all = vec![Point { set: Vec::new() }];
    let mut seen: Vec<(String, crate::source::Span)> = Vec::new();
    for axis in &sweep.axes {
        let key = axis.key.iter().map(|k| k.name.as_str()).collect::<Vec<_>>().join(".");
        let at = axis.key.first().map_or(axis.span, |k| k.span.to(axis.key.last().map_or(k.span, |l| l.span)));
        if let Some((_, first)) = seen.iter().find(|(k, _)| *k == key) {
            let message = format!("`{key}` is varied twice");
            cx.report(
                Diagnostic::error(codes::sweep::REPEATED_KEY, message, at, "varied again")
                    .label(*first, "varied here")
                    .help("list all values once"),
            );
            continue;
        }
        seen.push((key.clone(), at));
        let known = model.map(|(file, block)| Keys::of(spec, file, block));
        let names: Vec<&str> = known.iter().flat_map(Keys::names).chain(keys::KEYS.iter().map(|k| k.0)).collect();
        let takes = |text: &str| match (known.as_ref().and_then(|k| k.takes(&key, text)), keys::find(&key)) {
            (Some(result), _) => Some(result),
            (None, Some((_, kind))) => Some(if keys::read(kind, text).is_some() { Ok(()) } else { Err(kind.needs().to_string()) }),
            (None, None) => None,
        };
        if takes("1").is_none() {
            if model.is_some() {
                let message = format!("`{}` has no dim, constant or setting `{key}` to vary", sweep.of.name);
                let mut error = Diagnostic::error(codes::sweep::UNKNOWN_KEY, message, at, "not known");
                error.help = match keys::written(&key) {
                    Some(example) => Some(keys::only_written(&key, example)),
                    None => crate::suggest::help(&key, "keys", names),
                };
                cx.report(error);
            }
            continue;
        }
        let mut texts = Vec::new();
        for value in &axis.values {
            let Some(text) = text_of(cx, spec, value) else { continue };
            if let Some(Err(needs)) = takes(&text) {
                let message = format!("`{key}` is {needs}; this is `{text}`");
                cx.report(Diagnostic::error(codes::sweep::TYPE, message, value.span, "does not fit").help(format!("write {needs}")));
            } else {
                texts.push(text);
            }
        }
        if settings.set.iter().any(|(k, _)| *k == key) {
            continue;
        }
        if all.len().saturating_mul(texts.len()) > MAX_POINTS {
            let message = format!("the sweep of `{}` has more than {MAX_POINTS} points", sweep.of.name);
            cx.report(Diagnostic::error(codes::sweep::TYPE, message, axis.span, "too many").help("vary fewer keys at a time"));
            return Vec::new();
        }
        let with = |p: &Point, text: &String| Point { set: p.set.iter().cloned().chain([(key.clone(), text.clone())]).collect() };
        all = all.iter().flat_map(|p| texts.iter().map(|t| with(p, t)).collect::<Vec<_>>()).collect();
    }
    all
}

/// A value as `--set` would have it: words stay words, the rest is computed.
fn text_of<'a>(cx: &mut Cx<'a>, spec: &'a Spec, value: &'a Expr) -> Option<String> {
    let file = spec.root;
    if let ExprKind::Name(path) = &value.kind
        && let [name] = path.as_slice()
        && cx.items.constant(file, &name.name).is_none()
    {
        return Some(name.name.clone());
    }
    if let ExprKind::Text(text) = &value.kind {
        return Some(text.clone());
    }
    let mut scope = Body::new(None, file, Rc::new(Table::default()));
    match (Eval { cx, body: &mut scope }).constant(value) {
        Val::Const(Const::Number(x)) => Some(x.to_string()),
        Val::Const(Const::Bool(b)) => Some(b.to_string()),
        _ => None,
    }
}
