use super::plan;
use crate::decompose::decompose;
use crate::kernel::Work;
use crate::parse::parse;
use crate::plan::{Place, Plan, Step, print};
use crate::sample;
use proptest::prelude::*;

fn planned(text: &str) -> Plan {
    plan(&decompose(&parse(text).unwrap())).unwrap()
}

/// Kernels that a list of steps launches, loops entered.
fn launches<'p>(plan: &'p Plan, steps: &[Step], out: &mut Vec<&'p Work>) {
    for step in steps {
        match step {
            Step::Launch { kernel, .. } => out.push(&plan.kernels[*kernel as usize].work),
            Step::Loop { body, .. } => launches(plan, body, out),
        }
    }
}

fn works(plan: &Plan) -> Vec<&Work> {
    let mut out = Vec::new();
    launches(plan, &plan.steps, &mut out);
    out
}

const NORM: &str = "axis row = 64\naxis model = 256\n%0 = input x : f32[row, model]\n%1 = sum %0 over [model] : f32[row]\n\
                    %2 = const 0.00390625 : f32[]\n%3 = mul %1, %2 : f32[row]\n%4 = sub %0, %3 : f32[row, model]\n\
                    %5 = mul %4, %4 : f32[row, model]\n%6 = sum %5 over [model] : f32[row]\n%7 = mul %6, %2 : f32[row]\n\
                    %8 = rsqrt %7 : f32[row]\n%9 = mul %4, %8 : f32[row, model]\noutput y [row, model] = %9\n";

#[test]
fn a_layer_norm_is_one_row_program_without_memory_of_its_own() {
    let plan = planned(NORM);
    let [Work::Rows(rows)] = works(&plan)[..] else { panic!("{plan}") };
    assert_eq!((rows.outer.as_slice(), rows.inner.as_slice()), (&[64][..], &[256][..]), "{plan}");
    assert_eq!(plan.arena, 0);
}

#[test]
fn a_softmax_is_one_row_program() {
    let plan = planned(
        "axis row = 64\naxis key = 32\n%0 = input x : f32[row, key]\n%1 = softmax %0 over [key] : f32[row, key]\noutput y [row, key] = %1\n",
    );
    assert_eq!(works(&plan).len(), 1, "{plan}");
}

#[test]
fn gelu_is_recognised_however_its_factors_are_arranged() {
    let start = "axis row = 64\n%0 = input x : f32[row]\n%1 = const 0.7071067811865476 : f32[]\n%2 = mul %0, %1 : f32[row]\n\
                 %3 = erf %2 : f32[row]\n%4 = const 1.0 : f32[]\n%5 = add %3, %4 : f32[row]\n%6 = const 0.5 : f32[]\n";
    let ends = [
        "%7 = mul %5, %6 : f32[row]\n%8 = mul %0, %7 : f32[row]\noutput y [row] = %8\n",
        "%7 = mul %0, %6 : f32[row]\n%8 = mul %5, %7 : f32[row]\noutput y [row] = %8\n",
    ];
    for end in ends {
        let text = print(&planned(&format!("{start}{end}")));
        assert!(text.contains("= gelu") && !text.contains("= erf"), "{text}");
    }
}

const UPDATE: &str =
    "axis model = 256\naxis wide = 8\n%0 = param w : f32[model]\n%1 = input g : f32[model]\n%2 = sub %0, %1 : f32[model]\n";

#[test]
fn an_update_is_written_where_its_parameter_lies() {
    let plan = planned(&format!("{UPDATE}update w [model] = %2\n"));
    assert_eq!((works(&plan).len(), plan.arena), (1, 0), "{plan}");
}

#[test]
fn an_update_waits_for_the_other_readers_of_its_parameter() {
    let text = format!("{UPDATE}%3 = sum %0 over [model] : f32[]\noutput s [] = %3\nupdate w [model] = %2\n");
    let plan = planned(&text);
    let listing = print(&plan);
    let (read, write) = (listing.find("sum over i").unwrap_or(usize::MAX), listing.rfind("b0[i] =").unwrap_or(0));
    assert!(read < write, "{listing}");
}

#[test]
fn an_update_is_kept_aside_where_a_wider_program_still_reads_its_parameter() {
    let text = format!(
        "{UPDATE}%3 = input x : f32[model, wide]\n%4 = mul %2, %3 : f32[model, wide]\n%5 = mul %4, %0 : f32[model, wide]\n\
         output y [model, wide] = %5\nupdate w [model] = %2\n"
    );
    let plan = planned(&text);
    let Some(Step::Launch { args, .. }) = plan.steps.last() else { panic!("{plan}") };
    assert!(args.iter().any(|s| matches!(plan.buffers[s.buffer as usize].place, Place::Store(_))), "{plan}");
    assert!(works(&plan).len() > 1, "{plan}");
}

#[test]
fn a_carry_that_is_collected_lies_in_its_collection() {
    let plan = planned(
        "axis a = 16\naxis depth = 4\n%0 = input x : f32[a]\n%1 = repeat along depth carry [%0] stacked [] with [] : f32[a] {\n\
         %0 = argument 0 : f32[a]\n%1 = exp %0 : f32[a]\nyield [%1] collect [%0]\n}\n%2 = project 0 of %1 : f32[a]\n\
         %3 = project 1 of %1 : f32[a, depth]\n%4 = sum %3 over [depth] : f32[a]\n%5 = add %4, %2 : f32[a]\noutput y [a] = %5\n",
    );
    let body = plan.steps.iter().find_map(|s| if let Step::Loop { body, .. } = s { Some(body.len()) } else { None });
    assert_eq!(body, Some(1), "{plan}");
    assert!(plan.buffers.iter().any(|b| b.elements == 16 * 5), "{plan}");
}

#[test]
fn reductions_across_memory_are_folded_over_rows() {
    let plan = planned(
        "axis row = 4096\naxis model = 256\n%0 = input x : f32[row, model]\n%1 = sum %0 over [row] : f32[model]\noutput y [model] = %1\n",
    );
    let [Work::Rows(rows), Work::Fold(fold)] = works(&plan)[..] else { panic!("{plan}") };
    assert_eq!((rows.inner.as_slice(), rows.chunks, fold.len), (&[256][..], fold.chunks, 256), "{plan}");
}

#[test]
fn products_are_cut_alike_whatever_the_order_of_operands() {
    let text = |a: &str, b: &str| {
        format!(
            "axis row = 2048\naxis in = 256\naxis out = 1024\n%0 = input x : f32[row, in]\n%1 = param w : f32[in, out]\n\
             %2 = contract {a}, {b} over [in] : f32[row, out]\noutput y [row, out] = %2\n"
        )
    };
    let (one, two) = (planned(&text("%0", "%1")), planned(&text("%1", "%0")));
    assert_eq!(works(&one), works(&two));
    let [Work::Gemm(gemm)] = works(&one)[..] else { panic!("{one}") };
    assert_eq!((gemm.m, gemm.n, gemm.k, gemm.m_parts * gemm.n_parts), (2048, 1024, 256, 8));
}

#[test]
fn a_product_takes_up_the_sum_that_it_is_the_last_part_of() {
    let head = "axis row = 64\naxis in = 32\naxis out = 16\n%0 = input x : f32[row, in]\n%1 = param w : f32[in, out]\n\
                %2 = input y : f32[row, out]\n%3 = contract %0, %1 over [in] : f32[row, out]\n";
    let plan = planned(&format!("{head}%4 = add %2, %3 : f32[row, out]\noutput z [row, out] = %4\n"));
    let [Work::Gemm(gemm)] = works(&plan)[..] else { panic!("{plan}") };
    assert!(gemm.adds && print(&plan).contains("b3 = b2 + b0 b1"), "{plan}");
    // The product is read elsewhere too; what it is added to is made by a row program; rows are spread.
    for rest in [
        "%4 = add %2, %3 : f32[row, out]\noutput z [row, out] = %4\noutput p [row, out] = %3\n",
        "%4 = tanh %2 : f32[row, out]\n%5 = add %4, %3 : f32[row, out]\noutput z [row, out] = %5\n",
        "%4 = input b : f32[out]\n%5 = add %4, %3 : f32[row, out]\noutput z [row, out] = %5\n",
    ] {
        let plan = planned(&format!("{head}{rest}"));
        assert!(!works(&plan).iter().any(|w| matches!(w, Work::Gemm(g) if g.adds)), "{plan}");
    }
    // A parameter's update by a product is written where it lies.
    let plan = planned(
        "axis row = 64\naxis in = 32\naxis out = 16\n%0 = input x : f32[row, in]\n%1 = param w : f32[in, out]\n\
         %2 = input y : f32[row, out]\n%3 = contract %0, %2 over [row] : f32[in, out]\n%4 = add %1, %3 : f32[in, out]\nupdate w [in, out] = %4\n",
    );
    let [Work::Gemm(gemm)] = works(&plan)[..] else { panic!("{plan}") };
    assert!(gemm.adds && plan.arena == 0, "{plan}");
}

/// Pairs of buffers that share bytes while both are alive.
fn clashes(plan: &Plan) -> Vec<(usize, usize)> {
    let placed: Vec<(usize, u64, u64, (u32, u32))> = plan
        .buffers
        .iter()
        .enumerate()
        .filter_map(|(i, b)| if let Place::Arena(at) = b.place { Some((i, at, at + b.bytes(), b.life)) } else { None })
        .collect();
    assert!(placed.iter().all(|b| b.1 % crate::memory::ALIGN == 0 && b.2 <= plan.arena));
    let mut out = Vec::new();
    for (n, a) in placed.iter().enumerate() {
        for b in &placed[n + 1..] {
            let alive = a.3.0 <= b.3.1 && b.3.0 <= a.3.1 && a.3 != (0, 0) && b.3 != (0, 0);
            if alive && a.1 < b.2 && b.1 < a.2 {
                out.push((a.0, b.0));
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn buffers_that_are_alive_together_share_no_bytes(seed: u64, size in 5usize..60) {
        let graph = decompose(&sample::graph(seed, size));
        if let Ok(plan) = plan(&graph) {
            prop_assert_eq!(clashes(&plan), vec![], "{}", plan);
        }
    }

    #[test]
    fn the_same_graph_has_the_same_plan(seed: u64, size in 5usize..60) {
        let graph = decompose(&sample::graph(seed, size));
        prop_assert_eq!(plan(&graph), plan(&graph));
    }
}
