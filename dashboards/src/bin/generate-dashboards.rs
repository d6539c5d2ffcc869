//! Writes the dashboards into the chart.

use std::{fs, path::Path};

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (name, text) in loadtest_dashboards::files() {
        let path = Path::new(loadtest_dashboards::FOLDER).join(name);
        if let Some(folder) = root.join(&path).parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(root.join(&path), text)?;
        println!("{}", path.display());
    }
    Ok(())
}
