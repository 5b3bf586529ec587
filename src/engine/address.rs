//! An address with options after a question mark: `sqlite:PATH?synchronous=normal&call_max=2s`.

use std::vec::Vec;

/// An address, taken apart. Options are taken out one by one; what is left is nobody's.
pub(super) struct Address<'a> {
    base: &'a str,
    options: Vec<(&'a str, &'a str)>,
}

impl<'a> Address<'a> {
    pub(super) fn read(address: &'a str) -> Address<'a> {
        let (base, options) = address.split_once('?').unwrap_or((address, ""));
        let options = options.split('&').filter(|option| !option.is_empty());
        Address {
            base,
            options: options.map(|option| option.split_once('=').unwrap_or((option, ""))).collect(),
        }
    }

    /// The value of an option, which is not among the others any more. If it is given twice, the last one counts.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a str> {
        let value = self.options.iter().rfind(|(given, _)| *given == name).map(|(_, value)| *value);
        self.options.retain(|(given, _)| *given != name);
        value
    }

    /// What stands before the options.
    #[cfg(feature = "sqlite")]
    pub(super) fn base(&self) -> &'a str {
        self.base
    }

    /// An option that nobody has taken.
    #[cfg(feature = "sqlite")]
    pub(super) fn unknown(&self) -> Option<(&'a str, &'a str)> {
        self.options.first().copied()
    }

    /// The address with what is left of its options.
    #[cfg(feature = "postgres")]
    pub(super) fn rest(&self) -> std::string::String {
        let mut address = std::string::String::from(self.base);
        for (at, (name, value)) in self.options.iter().enumerate() {
            let separator = if at == 0 { "?" } else { "&" };
            address.extend([separator, name, "=", value]);
        }
        address
    }
}
