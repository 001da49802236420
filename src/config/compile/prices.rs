//! `prices`, `cost_basis` and `model_cost_map` → whose list holds for whom.

use std::sync::Arc;

use super::Compiling;
use crate::base::settings::{Place, Problem, Reader, Setting};
use crate::config::hujson;
use crate::config::provider::ProviderSettings;
use crate::llm::price::settings::PricesSettings;
use crate::llm::price::{Book, CostBasis, Listing, Mapped};

/// Largest file of prices.
const FILE_BYTES_MAX: usize = 4 << 20;

impl Compiling<'_> {
    /// Prices of one's own: those in the file, then those in the file it names.
    pub(super) fn book(&mut self) -> Arc<Book> {
        let mut book = Book::default();
        let Some(written) = &self.file.prices else { return Arc::new(book) };
        book.own(&written.models);
        book.own_date.clone_from(&written.date);
        if let Some(path) = &written.file {
            match self.prices_file(path) {
                Ok(more) => {
                    book.own(&more.models);
                    book.own_date = book.own_date.or(more.date);
                }
                Err(why) => {
                    self.error(&path.place, why, "expected {\"models\": [{\"match\": …, \"input\": …}]}")
                }
            }
        }
        Arc::new(book)
    }

    fn prices_file(&self, path: &str) -> Result<PricesSettings, String> {
        let bytes = (self.secrets.files)(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
        let text = String::from_utf8(bytes).ok().filter(|text| text.len() <= FILE_BYTES_MAX);
        let text = text.ok_or_else(|| format!("{path} is no text of at most {FILE_BYTES_MAX} bytes"))?;
        let mut reader = Reader::new(&text);
        let tree = hujson::parse(&text, &mut reader);
        let read = tree.and_then(|tree| PricesSettings::read(&tree, &mut reader));
        if let Some(first) = reader.problems.first() {
            return Err(format!("{path}:{first}"));
        }
        let read = read.ok_or_else(|| format!("{path} holds no prices"))?;
        match &read.file {
            Some(_) => Err(format!("{path} names a file itself")),
            None => Ok(read),
        }
    }

    pub(super) fn listing(&mut self, written: &ProviderSettings) -> Listing {
        let guessed =
            || CostBasis::of_host(&written.baseurl.origin.host).filter(|_| self.file.auto_cost_basis);
        let basis = written.cost_basis.or_else(guessed);
        let mut map = Vec::with_capacity(written.model_cost_map.len());
        for entry in &written.model_cost_map {
            let adjustment = entry.adjustment.unwrap_or(1.0);
            if !(0.0..=1e6).contains(&adjustment) {
                self.error(
                    &place(&entry.place, "adjustment"),
                    "is no factor on a price",
                    "expected a number such as 0.9, not negative",
                );
            }
            map.push(Mapped {
                matching: entry.matching.clone(),
                priced_as: entry.priced_as.clone(),
                adjustment,
            });
        }
        if basis.is_none() && !map.is_empty() && self.file.prices.is_none() {
            let problem = Problem::warning(
                &written.model_cost_map[0].place,
                "maps names of models, and no price list is known for this provider",
            );
            self.problems.push(problem.expected("add \"cost_basis\""));
        }
        Listing { basis, map, region: written.region.clone() }
    }
}

fn place(of: &Place, key: &str) -> Place {
    Place { path: format!("{}.{key}", of.path).into(), ..of.clone() }
}
