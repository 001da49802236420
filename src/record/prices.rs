//! The price lists in force, beside the store: commands price what they read by them, without the configuration.

use std::io;
use std::path::Path;

use crate::llm::price::Tariff;

/// Name of the file in the data folder.
pub const FILE_NAME: &str = "prices.json";

/// What was in force last; nothing where no gateway has run yet.
pub fn read(dir: &Path) -> io::Result<Tariff> {
    match std::fs::read(dir.join(FILE_NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Tariff::default()),
        Err(error) => Err(error),
        // One that another version wrote prices nothing, which shows; it is no reason not to read the store.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
    }
}

/// Put a tariff in force. What went to providers that are no longer configured keeps its list.
pub fn write(dir: &Path, tariff: Tariff) -> io::Result<()> {
    let earlier = read(dir)?;
    let tariff = tariff.after(earlier.clone());
    if tariff == earlier {
        return Ok(());
    }
    let beside = dir.join(format!("{FILE_NAME}.new"));
    std::fs::write(&beside, serde_json::to_vec_pretty(&tariff).map_err(io::Error::other)?)?;
    std::fs::rename(beside, dir.join(FILE_NAME))
}
