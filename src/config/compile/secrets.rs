//! Secrets of sections that are not built yet are looked up all the same: a wrong reference should not wait.

use super::Compiling;
use crate::base::settings::{Kept, SecretText};

impl Compiling<'_> {
    pub(super) fn check_secrets(&mut self) {
        let file = self.file;
        let hooks =
            file.hooks.iter().filter(|(_, hook)| !hook.disabled).filter_map(|(_, hook)| hook.apikey.as_ref());
        let mut secrets: Vec<&SecretText> = hooks.collect();
        secrets.extend(file.server.iter().filter_map(|server| server.secret_key.as_ref()));
        if let Some(exporters) = &file.exporters {
            let s3 = exporters.s3.iter().flat_map(|s3| [&s3.access_key_id, &s3.access_secret]).flatten();
            let otlp = exporters.otlp.iter().flat_map(|otlp| otlp.headers.iter().map(|(_, value)| value));
            let house = exporters.clickhouse.iter().filter_map(|house| house.password.as_ref());
            let siem = exporters.webhook.iter().filter_map(|siem| siem.apikey.as_ref());
            secrets.extend(s3.chain(otlp).chain(house).chain(siem));
        }
        for secret in secrets {
            if let Err(problem) = self.secrets.resolve(secret) {
                self.problems.push(problem);
            }
        }
        self.check_key_files();
    }

    /// A key file is read by what exchanges it for tokens; here it only has to be there.
    fn check_key_files(&mut self) {
        let file = self.file;
        for (_, provider) in &file.providers {
            let named = provider.apikey.as_ref().map(|secret| (secret, secret.kept()));
            if let Some((secret, Kept::KeyFile(""))) = named {
                self.error(
                    &secret.place,
                    "names no key file",
                    "write keyfile::/path/to/service-account.json",
                );
            }
        }
    }
}
