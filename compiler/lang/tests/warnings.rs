//! What is warned about, and what is not.

use ogive_lang::{NoImports, Settings, Spec, check, codes};

/// All codes of a spec, with messages.
fn found(text: &str) -> Vec<(&'static str, String)> {
    let (spec, found) = Spec::load("spec.arch", text.to_owned(), &NoImports);
    let more = check::check(&spec, &Settings::default());
    found.list.into_iter().chain(more.list).map(|d| (d.code, d.message)).collect()
}

/// What is found where a delta rule writes along the key `k`, made of a projection, at a rate.
fn written(key: &str, rate: &str) -> Vec<(&'static str, String)> {
    let (dims, label) = if key.contains("dpfp") { (", feature = 4 * key", ", key: feature") } else { ("", "") };
    let text = format!(
        "model tiny[seq, symbol, model = 16, key = model, value = model{dims}](tokens: [seq] in symbol) -> logits: [seq, symbol] {{
  param embed:  [symbol, model]
  param Wk:     [model, key]
  param Wv, Wo: [model, value]
  param Wb:     [model]
  x      = embed[tokens]
  p      = x @model Wk
  k      = {key}
  b      = x @model Wb
  tap rate = b
  mix    = scan delta_rule(k, k, x @model Wv, {rate}{label}) along seq
  logits = (mix @value Wo) @model embed
}}
experiment first {{
  model      tiny
  data       text(webster, tokenizer: bytes, context: 16)
  loss       cross_entropy(logits, next(tokens), over: symbol)
  optimizer  adam(lr: 1e-3)
  budget     steps: 10, batch: 4
}}"
    );
    found(&text)
}

#[track_caller]
fn warned(key: &str, rate: &str, says: &str) {
    let found = written(key, rate);
    let [(code, message)] = &found[..] else { panic!("{key} at {rate}: {found:?}") };
    assert!(*code == codes::cell::UNBOUNDED_KEY && message.contains(says), "{key} at {rate}: {message}");
}

#[test]
fn a_key_that_may_be_too_long_for_a_delta_rule_is_warned_about() {
    warned("p", "sigmoid(b)", "nothing bounds");
    warned("relu(p)", "sigmoid(b)", "nothing bounds");
    warned("where(p > 0, p + 1, exp(p))", "sigmoid(b)", "nothing bounds");
    warned("dpfp(p)", "sigmoid(b)", "nothing bounds");
    for normalised in ["layer_norm(p, over: key)", "rms_norm(p, over: key)", "standardize(p, over: key)"] {
        warned(normalised, "sigmoid(b)", "up to 16");
    }
    warned("tanh(p)", "sigmoid(b)", "up to 16");
    warned("unit_norm(p, over: key)", "4 * sigmoid(b)", "up to 4");
    warned("softmax(p, over: key)", "3", "up to 3");
    warned("rms_norm(p, over: key)", "sigmoid(b) / 4", "up to 4");
}

#[test]
fn a_key_whose_length_is_bounded_is_not() {
    for (key, rate) in [
        ("unit_norm(p, over: key)", "sigmoid(b)"),
        ("unit_norm(relu(p), over: key)", "2 * sigmoid(b)"),
        ("unit_norm(p, over: key)", "b"),
        ("softmax(p, over: key)", "1"),
        ("sum_norm(where(p > 0, p + 1, exp(p)), over: key)", "sigmoid(b)"),
        ("layer_norm(p, over: key) / sqrt(key)", "sigmoid(b)"),
        ("standardize(p, over: key) * (1 / sqrt(key))", "2 * sigmoid(b)"),
        ("rms_norm(p, over: key)", "sigmoid(b) / key"),
        ("sum_norm(dpfp(p), over: feature)", "sigmoid(b)"),
    ] {
        let found = written(key, rate);
        assert!(found.is_empty(), "{key} at {rate}: {found:?}");
    }
}

/// The same where the step itself makes the key.
#[test]
fn a_key_that_is_made_in_the_step_is_looked_at_too() {
    let with = |key: &str| {
        let text = format!(
            "cell own[key, value](p: [key], v: [value], b: []) -> y: [value] {{
  state W: [key, value] = 0
  k = {key}
  W = prev W + sigmoid(b) * k * (v - k @key prev W)
  y = k @key W
}}
model tiny[seq, symbol, model = 16](tokens: [seq] in symbol) -> logits: [seq, symbol] {{
  param embed: [symbol, model]
  param Wb:    [model]
  x      = embed[tokens]
  mix    = scan own(x[model as key], x[model as value], x @model Wb) along seq
  logits = mix[value as model] @model embed
}}
experiment first {{
  model      tiny
  data       text(webster, tokenizer: bytes, context: 16)
  loss       cross_entropy(logits, next(tokens), over: symbol)
  optimizer  adam(lr: 1e-3)
  budget     steps: 10, batch: 4
}}"
        );
        found(&text)
    };
    for bounded in
        ["unit_norm(p, over: key)", "softmax(p, over: key)", "sum_norm(relu(p), over: key)", "standardize(p, over: key) / sqrt(key)"]
    {
        assert!(with(bounded).is_empty(), "{bounded}: {:?}", with(bounded));
    }
    for (long, says) in
        [("relu(p)", "nothing bounds"), ("layer_norm(p, over: key)", "up to 16"), ("2 * unit_norm(p, over: key)", "up to 4")]
    {
        let found = with(long);
        assert!(matches!(&found[..], [(codes::cell::UNBOUNDED_KEY, message)] if message.contains(says)), "{long}: {found:?}");
    }
}

/// A dim that no line names, but the result of a call has.
#[test]
fn a_dim_that_the_result_of_a_call_carries_is_used() {
    let text = "
block widen[model, width = 2 * model](x: [model]) -> y: [width] {
  param W: [model, width]
  y = x @model W
}
block outer[seq, model, width = 2 * model](x: [seq, model]) -> y: [seq, model] {
  y = narrow(relu(widen(x)))
}
block narrow[width, model = width / 2](x: [width]) -> y: [model] {
  param W: [width, model]
  y = x @width W
}";
    assert!(found(text).is_empty(), "{:?}", found(text));
    let unused = found(&text.replace("width = 2 * model](x: [seq", "other = 2, width = 2 * model](x: [seq"));
    assert!(matches!(&unused[..], [(codes::name::UNUSED, message)] if message.contains("`other`")), "{unused:?}");
}
