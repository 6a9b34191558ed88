//! Compresses the assets of the dashboard, and names each by a hash of its content, so that browsers may keep them.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// How many bytes of the hash are in a name.
const HASH_BYTES: usize = 6;

fn main() -> Result<(), Box<dyn Error>> {
    let from = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("assets");
    let to = env::var("OUT_DIR")?;
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=assets");
    for (name, variable) in [
        ("dashboard.css", "DASHBOARD_CSS"),
        ("dashboard.js", "DASHBOARD_JS"),
        ("live.js", "LIVE_JS"),
        ("icon.svg", "ICON_SVG"),
    ] {
        let content = fs::read(from.join(name))?;
        let hash = Sha256::digest(&content);
        let hash: String = hash[..HASH_BYTES]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        std::io::Write::write_all(&mut gzip, &content)?;
        fs::write(Path::new(&to).join(format!("{name}.gz")), gzip.finish()?)?;
        println!("cargo:rustc-env={variable}={hash}");
    }
    Ok(())
}
