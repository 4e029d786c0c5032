//! `sluice.yaml` as the binary sees it: what `sluice run --check` accepts, prints and refuses.

use assert_cmd::Command;
use std::fs;
use std::path::Path;

fn check(dir: &Path) -> (i32, String, String) {
    let output = Command::cargo_bin("sluice")
        .expect("the binary")
        .args(["run", "--check", "--config"])
        .arg(dir)
        .env_remove("SLUICE_SOCKET")
        .output()
        .expect("run");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

#[test]
fn a_folder_without_settings_has_the_defaults() {
    let dir = tempfile::tempdir().expect("a folder");
    let (code, out, err) = check(dir.path());
    assert_eq!((code, err.as_str()), (0, ""));
    fs::write(dir.path().join("sluice.yaml"), &out).expect("write");
    assert_eq!(check(dir.path()), (0, out, String::new()), "what is printed means the same when read");
}

#[test]
fn the_annotated_file_of_configs_is_what_is_printed() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_, defaults, _) = check(dir.path());
    let annotated = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/sluice.yaml");
    fs::copy(annotated, dir.path().join("sluice.yaml")).expect("copy");
    assert_eq!(check(dir.path()), (0, defaults, String::new()));
}

#[test]
fn a_wrong_file_cannot_run_and_says_where() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("sluice.yaml");
    fs::write(&file, "datapath:\n  onFailure: drop\n  poling: busy\n").expect("write");
    let (code, out, err) = check(dir.path());
    assert_eq!((code, out.as_str()), (2, ""));
    let place = format!("{}:3:3: datapath: unknown field `poling`", file.display());
    assert!(err.contains(&place) && err.contains("did you mean `polling`?"), "{err}");
}

#[test]
fn a_missing_folder_cannot_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let (code, _, err) = check(&dir.path().join("nothing"));
    assert_eq!(code, 2);
    assert!(err.contains("nothing: No such file or directory"), "{err}");
}

#[test]
fn the_systemd_unit_starts_what_exists() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/systemd/sluice.service");
    let text = fs::read_to_string(unit).expect("the unit");
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.next().unwrap_or_else(|| panic!("{key} is set"))
    };
    assert_eq!(value("Type"), "notify-reload");
    assert_eq!(value("ExecStart"), "/usr/bin/sluice run --config /etc/sluice");
    for needed in ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF"] {
        assert!(value("CapabilityBoundingSet").contains(needed), "{needed} is kept after start");
    }
    assert!(value("RestrictAddressFamilies").contains("AF_XDP"));
    assert_eq!(
        (value("RuntimeDirectory"), value("StateDirectory")),
        ("sluice", "sluice"),
        "the default paths exist"
    );
}
