//! Writes the `CustomResourceDefinition`s into the chart, and the page that explains them into docs.

use std::{fs, path::Path};

use loadtest_crds::{crd, reference};

const DEFINITIONS: &str = "charts/loadtest-operator/files/crds";

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::create_dir_all(root.join(DEFINITIONS))?;
    for (name, text) in crd::files() {
        write(&root, &format!("{DEFINITIONS}/{name}"), &text)?;
    }
    write(&root, reference::FILE, &reference::page())
}

fn write(root: &Path, file: &str, text: &str) -> std::io::Result<()> {
    fs::write(root.join(file), text)?;
    println!("{file}");
    Ok(())
}
