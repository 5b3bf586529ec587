//! `fencepost man` and `fencepost completions`: what packagers and shells want, made of the command line itself.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use roff::{Roff, roman};

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::failure::Failure;

/// How paragraphs after the options begin that are sections of their own in a manual.
const SECTIONS: [(&str, &str); 3] = [
    ("Examples:", "EXAMPLES"),
    ("What the command runs finds in its environment:", "ENVIRONMENT"),
    ("Exit status:", "EXIT STATUS"),
];

/// Prints the manual page of the command, or writes those of all verbs into a folder.
pub(crate) fn man(args: &ManArgs) -> Result<u8, Failure> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let Some(folder) = &args.into else {
        io::stdout().lock().write_all(&page(&command)?)?;
        return Ok(0);
    };
    write_all(&command, folder).map_err(|source| {
        let folder = folder.display().to_string();
        Failure::Pages { folder, source }
    })?;
    Ok(0)
}

/// Prints what a shell needs to complete the command line.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fencepost", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(0)
}

fn write_all(command: &Command, folder: &Path) -> io::Result<()> {
    fs::write(folder.join(Man::new(command.clone()).get_filename()), page(command)?)?;
    command.get_subcommands().try_for_each(|verb| write_all(verb, folder))
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(text) = command.get_after_help() {
        sections(&text.to_string()).to_writer(&mut page)?;
    }
    Ok(page)
}

/// What the help says after the options, as sections of a manual.
fn sections(help: &str) -> Roff {
    let (mut roff, mut section) = (Roff::new(), "");
    for paragraph in help.split("\n\n") {
        let own = SECTIONS.iter().find_map(|(start, head)| Some((*head, paragraph.strip_prefix(start)?)));
        let (head, text) = own.unwrap_or(("NOTES", paragraph));
        if head == section {
            roff.control("PP", []);
        } else {
            roff.control("SH", [head]);
            section = head;
        }
        // A table is not to be filled.
        let is_table = text.starts_with('\n');
        if is_table {
            roff.control("nf", []);
        }
        for line in text.trim().lines() {
            roff.text([roman(line.trim_start())]);
        }
        if is_table {
            roff.control("fi", []);
        }
    }
    roff
}
