//! Holds every operation on a device against the CPU: `compare_devices [MODEL] [DEVICE]`.
//! The device is `auto`, `cpu`, `gpu` or `gpu:INDEX`; GPUs need the feature `gpu`.

use std::sync::Arc;

use bitnet_engine::gguf::Gguf;
use bitnet_engine::{Device, LoadOptions, compare};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or("demo/demo.gguf".to_owned());
    let device: Device = arguments.next().unwrap_or("auto".to_owned()).parse()?;

    let file = Arc::new(Gguf::open(model)?);
    let options = LoadOptions::default().device(device);
    let comparison = compare(file, &options, &[859, 26, 199, 462, 360])?;
    println!("{} against {}", comparison.device, comparison.reference);
    let worst = comparison
        .differences
        .iter()
        .max_by(|a, b| a.error.total_cmp(&b.error));
    if let Some(worst) = worst {
        let name = comparison.plan.program.op_name(worst.index);
        println!("the farthest apart is {name}, by {:.1e}", worst.error);
    }
    match comparison.first_apart() {
        Some(apart) => Err(format!("operation {} differs", apart.index).into()),
        None => Ok(()),
    }
}
