//! `sluice policy check|verdict|explain|diff|suggest`: policies tried out without a running node.

pub mod explain;
mod flows;
mod suggest;

pub use explain::explain;
pub use suggest::{SuggestArgs, suggest};

use crate::args::{CheckArgs, DiffArgs, EmptyListArgs, Output, VerdictArgs};
use crate::cli::{NO, emit, print};
use crate::run::files::{INVENTORY, MAX_INVENTORY, MAX_POLICIES, TooLarge, documents, read_text};
use crate::run::rules::{empty_list, merge};
use crate::show;
use anyhow::{Context as _, Result, bail};
use policy::conformance::{Flow, FlowLine, Verdicts};
use policy::document::{self, Diagnostic, Severity};
use policy::engine::{Options, SourceFile};
use policy::inventory::Inventory;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Policy files of a command line: files as they are, folders with the YAML and JSON in them.
///
/// # Errors
/// When one cannot be read.
fn read_policies(paths: &[PathBuf]) -> Result<Vec<SourceFile>> {
    files_of(paths)?.iter().map(|path| source(path, MAX_POLICIES)).collect()
}

/// Files as they are, folders with the YAML and JSON in them.
fn files_of(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let found = documents(path);
        if found.is_empty() {
            bail!("{}: no .yaml, .yml or .json files in this folder", path.display());
        }
        files.extend(found);
    }
    Ok(files)
}

fn source(path: &Path, max: u64) -> Result<SourceFile> {
    let text = read_text(path, max).with_context(|| path.display().to_string())?;
    Ok(SourceFile { path: path.display().to_string(), text })
}

/// Workloads of a command line.
///
/// # Errors
/// When a file cannot be read, or is wrong.
fn read_inventory(paths: &[PathBuf]) -> Result<Inventory> {
    let mut parts = Vec::new();
    for path in files_of(paths)? {
        let file = source(&path, MAX_INVENTORY)?;
        match document::load_inventory(&file.text, &file.path) {
            Ok(inventory) => parts.push(inventory),
            Err(errors) => {
                let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
                bail!("the inventory is wrong:\n{}", lines.join("\n"));
            }
        }
    }
    Ok(merge(parts.iter()))
}

fn options(empty: EmptyListArgs) -> Options {
    Options { empty_list: empty_list(empty.empty_list_means), ..Options::default() }
}

/// `sluice policy check`: 1 if any document is wrong.
///
/// # Errors
/// When a file cannot be read.
pub fn check(args: &CheckArgs) -> Result<ExitCode> {
    let paths = files_of(&args.paths)?;
    let inventory = if args.inventory.is_empty() { None } else { Some(read_inventory(&args.inventory)?) };
    let reading =
        document::Options { empty_list: empty_list(args.empty.empty_list_means), ..Default::default() };
    let (mut found, mut policies, mut groups) = (Vec::new(), Vec::new(), Vec::new());
    let (mut documents, mut rejected) = (0, 0);
    for path in &paths {
        let file = match source(path, MAX_POLICIES) {
            Ok(file) => file,
            Err(error) => {
                let Some(large) = error.downcast_ref::<TooLarge>() else { return Err(error) };
                found.push(too_large(path, *large));
                continue;
            }
        };
        let loaded = document::load(&file.text, &file.path, &reading);
        documents += loaded.documents.len();
        rejected +=
            loaded.documents.iter().filter(|status| status.outcome == document::Outcome::Rejected).count();
        found.extend(loaded.diagnostics().cloned());
        policies.extend(loaded.policies);
        groups.extend(loaded.cidr_groups);
    }
    found.extend(policy::lint::lint(&policies, &groups, inventory.as_ref()));
    let errors = found.iter().filter(|found| found.severity == Severity::Error).count();
    let valid = errors == 0 && rejected == 0;
    let value = json!({
        "valid": valid,
        "files": paths.len(),
        "documents": documents,
        "policies": policies.len(),
        "diagnostics": found.iter().map(diagnostic_value).collect::<Vec<_>>(),
    });
    emit(args.output, &value, |_| {
        let mut text = String::new();
        for found in &found {
            let _ = writeln!(text, "{found}");
        }
        let out = std::io::stdout();
        let warnings = found.len() - errors;
        let word = if valid { show::good("valid", &out) } else { show::bad("invalid", &out) };
        let _ = writeln!(
            text,
            "{word}: {documents} documents in {} files, {errors} errors, {warnings} warnings",
            paths.len()
        );
        text
    })?;
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

/// What is said of a file that is not read.
fn too_large(path: &Path, large: TooLarge) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        file: path.display().to_string().into(),
        line: 1,
        column: 1,
        path: String::new(),
        message: large.to_string(),
        suggestion: Some("split it".to_owned()),
    }
}

fn diagnostic_value(found: &Diagnostic) -> Value {
    json!({
        "severity": match found.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "file": &*found.file,
        "line": found.line,
        "column": found.column,
        "path": found.path,
        "message": found.message,
        "suggestion": found.suggestion,
    })
}

/// `sluice policy verdict`.
///
/// # Errors
/// When a file cannot be read or names what does not exist.
pub fn verdict(args: &VerdictArgs) -> Result<ExitCode> {
    let mut inventory = read_inventory(&args.inventory)?;
    let policies = read_policies(&args.policies)?;
    let flows = flows::read(&args.flows, &mut inventory)?.list;
    let verdicts = policy::conformance::verdicts(&inventory, &policies, &flows, &options(args.empty))?;
    match args.output {
        Output::Table => print(&verdict_table(&flows, &verdicts)),
        output => emit(output, &serde_json::to_value(&verdicts)?, |_| String::new()),
    }
}

fn verdict_table(flows: &[Flow], verdicts: &Verdicts) -> String {
    let mut text = String::new();
    for rejected in verdicts.policies.iter().filter(|policy| !policy.accepted) {
        let error = rejected.error.as_deref().unwrap_or("rejected");
        let _ = writeln!(text, "not in force: {error}");
    }
    let rows = flows.iter().zip(&verdicts.verdicts).map(|(flow, line)| {
        let to = format!("{}:{}/{}", flow.dst, flow.port, flow.proto);
        vec![
            line.id.clone(),
            flow.src.clone(),
            to,
            line.egress.clone(),
            line.ingress.clone(),
            line.verdict.into(),
            rules(line),
        ]
    });
    text.push_str(&show::table(&["ID", "FROM", "TO", "EGRESS", "INGRESS", "VERDICT", "RULES"], rows));
    text
}

fn rules(line: &FlowLine) -> String {
    let all = line.rules.egress.iter().chain(&line.rules.ingress);
    let list: Vec<String> = all.map(|rule| format!("{} {}:{}", rule.policy, rule.file, rule.line)).collect();
    if list.is_empty() { "-".to_owned() } else { list.join(" ") }
}

/// What becomes of a flow, in one word.
fn outcome(line: &FlowLine) -> &'static str {
    match (line.verdict, line.audited) {
        ("allowed", true) => "audited",
        (word, _) => word,
    }
}

/// `sluice policy diff`: 1 if any flow changes verdict.
///
/// # Errors
/// When a file cannot be read or names what does not exist.
pub fn diff(args: &DiffArgs) -> Result<ExitCode> {
    let of_config = [args.config.join(INVENTORY)];
    let mut inventory = read_inventory(if args.inventory.is_empty() { &of_config } else { &args.inventory })?;
    let flows::Flows { list: flows, records, ignored } = flows::read(&args.flows, &mut inventory)?;
    let judge = |path: &PathBuf| -> Result<Verdicts> {
        let policies = read_policies(std::slice::from_ref(path))?;
        Ok(policy::conformance::verdicts(&inventory, &policies, &flows, &options(args.empty))?)
    };
    let (old, new) = (judge(&args.old)?, judge(&args.new)?);
    let pairs = flows.iter().zip(&records).zip(old.verdicts.iter().zip(&new.verdicts));
    let changed: Vec<_> = pairs.filter(|(_, (old, new))| outcome(old) != outcome(new)).collect();
    let value = json!({
        "flows": flows.len(),
        "records": records.iter().sum::<u64>(),
        "ignored": ignored,
        "changed": changed
            .iter()
            .map(|((flow, records), (old, new))| {
                json!({ "flow": flow, "records": records, "old": old, "new": new })
            })
            .collect::<Vec<_>>(),
    });
    emit(args.output, &value, |_| {
        let rows = changed.iter().map(|((flow, records), (old, new))| {
            vec![
                flow.id.clone(),
                flow.to_string(),
                records.to_string(),
                outcome(old).into(),
                outcome(new).into(),
                rules(old),
                rules(new),
            ]
        });
        let head = ["ID", "FLOW", "RECORDS", "OLD", "NEW", "OLD RULES", "NEW RULES"];
        let table = if changed.is_empty() { String::new() } else { show::table(&head, rows) };
        let mut text = format!("{table}{} of {} flows change verdict\n", changed.len(), flows.len());
        for (why, count) in &ignored {
            let _ = writeln!(text, "not judged: {count} records ({why})");
        }
        text
    })?;
    Ok(if changed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}
