//! The CPU back end against the interpreter: every case, and the gradient of every case, in f32.

use ogive_graph::DType;
use ogive_jit::Cpu;
use ogive_jit::primitives::Primitives;
use ogive_runtime::Options;
use ogive_tests::cases::{self, Case, Class, Made, Size};
use ogive_tests::check::{self, Results};

fn name(case: &Case) -> &str {
    &case.name
}

fn options(threads: usize, isa: Option<&str>) -> Options {
    Options { threads, verify: true, isa: isa.map(str::to_owned), ..Options::default() }
}

fn cpu(made: &Made, threads: usize, isa: Option<&str>) -> Result<Results, String> {
    check::run(&Cpu::new(), made, &options(threads, isa))
}

/// Holds a case of either size against what it should give: exact ones computed in f32, the others in f64.
fn agrees(case: &Case, tolerance: f64, isa: Option<&str>, graph: impl Fn(&Made) -> Result<Option<Made>, String>) -> Result<(), String> {
    for size in [Size::Small, Size::Large] {
        let (Some(single), Some(double)) = (graph(&case.make(DType::F32, size))?, graph(&case.make(DType::F64, size))?) else { continue };
        let exact = check::interpret(if tolerance == 0.0 { &single } else { &double })?;
        let found = cpu(&single, 1, isa)?;
        check::apart(&found, &exact, tolerance).map_err(|why| format!("{size:?}: {why}"))?;
    }
    Ok(())
}

fn forward(case: &Case, isa: Option<&str>) -> Result<(), String> {
    agrees(case, check::tolerance(case.class), isa, |made| Ok(Some(made.clone())))
}

/// The gradient of a case, without the loss.
fn gradient(made: &Made) -> Result<Option<Made>, String> {
    let with = check::gradient(made)?;
    Ok(with.map(|mut with| {
        with.graph.outputs.retain(|o| o.port.name != "loss");
        with
    }))
}

#[test]
fn every_instruction_set_agrees_with_the_interpreter() {
    let sets: Vec<&str> = Primitives::all().map(Primitives::name).collect();
    assert!(sets.contains(&"portable"), "{sets:?}");
    for isa in sets {
        check::every(&cases::all(), name, |case| forward(case, Some(isa)).map_err(|why| format!("{isa}: {why}")));
    }
}

#[test]
fn gradients_on_the_cpu_agree_with_the_interpreter() {
    check::every(&cases::all(), name, |case| {
        // A gradient takes more steps than its value, and sums where that has none.
        let tolerance = 4.0 * check::tolerance(case.class.max(Class::Sum));
        agrees(case, tolerance, None, gradient)
    });
}

#[test]
fn one_thread_and_two_give_the_same_bits() {
    check::every(&cases::all(), name, |case| {
        let made = case.make(DType::F32, Size::Large);
        for made in [Some(made.clone()), check::gradient(&made)?].iter().flatten() {
            let (one, two) = (cpu(made, 1, None)?, cpu(made, 2, None)?);
            if !check::same_bits(&one, &two) {
                return Err("two threads give other bits".into());
            }
        }
        Ok(())
    });
}
