//! Writes the `CustomResourceDefinition`s into the chart.

use std::{fs, path::Path};

use loadtest_crds::crd;

fn main() -> std::io::Result<()> {
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/loadtest-operator/files/crds");
    fs::create_dir_all(&directory)?;
    for (name, text) in crd::files() {
        fs::write(directory.join(name), text)?;
        println!("charts/loadtest-operator/files/crds/{name}");
    }
    Ok(())
}
