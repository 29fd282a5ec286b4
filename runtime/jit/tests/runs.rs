//! What running a compiled graph promises beyond its numbers: errors that name the place, and memory known in advance.

mod step;

use ogive_jit::Cpu;
use ogive_runtime::{Backend, Data, Draw, ExecError, Options};
use step::{STEP, given, graph, options, tensor};

#[test]
fn a_position_outside_its_axis_is_named() {
    let (inputs, mut store) = given(|i| if i == 300 { 96 } else { 0 });
    let mut program = Cpu::new().compile(&graph(STEP), &options()).unwrap();
    let error = program.run(&mut store, &inputs, Draw::default()).unwrap_err();
    assert!(matches!(&error, ExecError::OutOfRange { axis, position: 96, size: 96, .. } if axis == "in"), "{error}");
}

#[test]
fn a_tensor_that_is_missing_or_of_other_size_is_named() {
    let (mut inputs, mut store) = given(|_| 0);
    let mut program = Cpu::new().compile(&graph(STEP), &options()).unwrap();
    inputs.insert("x".into(), tensor(&[("row", 512), ("in", 95)], Data::F32(vec![0.0; 512 * 95])));
    let error = program.run(&mut store, &inputs, Draw::default()).unwrap_err();
    assert!(matches!(&error, ExecError::Mismatch { name, .. } if name == "x"), "{error}");
    inputs.remove("x");
    let error = program.run(&mut store, &inputs, Draw::default()).unwrap_err();
    assert!(matches!(&error, ExecError::Missing { name, .. } if name == "x"), "{error}");
}

#[test]
fn double_precision_is_refused_in_words() {
    let text = "axis a = 4\n%0 = input x : f64[a]\n%1 = exp %0 : f64[a]\noutput y [a] = %1\n";
    let Err(error) = Cpu::new().compile(&graph(text), &options()) else { panic!("compiled") };
    assert!(error.to_string().contains("f64"), "{error}");
}

#[test]
fn memory_is_known_before_the_first_run() {
    let program = Cpu::new().compile(&graph(STEP), &options()).unwrap();
    let memory = program.memory();
    assert_eq!(memory.store, 96 * 160 * 4);
    assert_eq!(memory.ports, (512 * 96 + 512 + 160 + 512 * 160) * 4);
    assert!(memory.arena >= 512 * 160 * 4 && memory.arena < 6 * 512 * 160 * 4, "{memory:?}");
}

#[test]
fn an_unknown_instruction_set_is_refused() {
    let options = Options { isa: Some("mmx".into()), ..options() };
    assert!(matches!(Cpu::new().compile(&graph(STEP), &options), Err(ExecError::Unsupported { .. })));
}
