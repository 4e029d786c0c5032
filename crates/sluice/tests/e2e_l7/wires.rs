//! The same on other wires: frames of up to 64 KiB, checksums that the pod makes itself, and segments that get lost.

use crate::kit::{self, INSPECTED, answers, request};
use crate::support::Lab;
use sluice::testbed::PodSpec;
use sluice::testbed::exec::find_program;

/// Bytes of each body.
const BODY: usize = 8 << 20;

/// client and server whose links are like this, with nginx and the rules of [`kit::web`].
fn web_over(test: &str, spec: fn(PodSpec) -> PodSpec) -> Option<Lab> {
    let mut lab = crate::support::lab(test)?;
    for name in ["client", "server"] {
        lab.add_pod(spec(PodSpec::new("lab", name, &format!("app={name}")))).expect("a pod");
    }
    kit::nginx(&mut lab);
    lab.write_policy("server", &kit::http_policy(kit::PUBLIC)).expect("written");
    lab.start();
    Some(lab)
}

/// A download and a refused upload, each behind a refusal, on one connection, which curl gives up when it is refused an
/// upload under way; an upload; heads of some thousand
/// bytes, pipelined.
#[track_caller]
fn bodies_and_heads_arrive(lab: &Lab) {
    let bytes: Vec<u8> =
        (0..BODY / 4).flat_map(|n| (n as u32).wrapping_mul(0x9e37_79b1).to_le_bytes()).collect();
    let file = kit::nginx_file(lab, "www/public/file/large");
    let put = kit::nginx_file(lab, "www/public/file/put");
    let got = lab.file("got");
    std::fs::write(&file, &bytes).expect("written");
    let host = lab.pod("lab/server").ipv4();
    let common = "-sS -m 60 -w %{http_code}/%{num_connects},";
    let line = format!(
        "curl {common} http://{host}/private -o /dev/null http://{host}/public/file/large -o {} --next {common} -o /dev/null \
         -H Expect: -T {large} http://{host}/private --next {common} -T {large} http://{host}/public/file/put",
        got.display(),
        large = file.display(),
    );
    let (ok, said) = lab.run("lab/client", &line);
    assert!(ok && said.starts_with("403/1,200/0,403/0,20"), "{said}");
    for path in [&got, &put] {
        assert!(std::fs::read(path).expect("the copy") == bytes, "{} differs", path.display());
    }

    let pad = format!("X-Pad: {}\r\n", "p".repeat(3000)).repeat(3);
    let mut texts = Vec::new();
    let mut expected = Vec::new();
    for number in 0..24 {
        let (path, status) = if number % 2 == 0 { ("/private", 403) } else { ("/public/a", 200) };
        let short = request("GET", path);
        texts.push(format!("{}{pad}\r\n", short.strip_suffix("\r\n").unwrap_or(&short)));
        expected.push(status);
    }
    let texts = [texts[..12].concat(), texts[12..].concat()];
    let (data, end) = kit::raw(lab, INSPECTED, "2", &[&texts[0], &texts[1]]);
    let found: Vec<u16> = answers(&data).iter().map(|(status, _)| *status).collect();
    assert_eq!((found, end.as_str()), (expected, "silence"));
}

#[test]
fn frames_of_sixty_four_kibibytes_are_inspected() {
    let Some(lab) = web_over("frames_of_sixty_four_kibibytes_are_inspected", |spec| spec.mtu(65_000)) else {
        return;
    };
    bodies_and_heads_arrive(&lab);
}

#[test]
fn jumbo_frames_with_their_own_checksums_are_inspected() {
    let spec = |spec: PodSpec| spec.mtu(9_000).checksum_offload(false);
    let Some(lab) = web_over("jumbo_frames_with_their_own_checksums_are_inspected", spec) else { return };
    bodies_and_heads_arrive(&lab);
}

/// One segment of a hundred is lost on its way out of a pod, and one on its way in.
#[test]
fn lost_segments_are_sent_again_by_whom_they_came_from() {
    let Some(lab) = web_over("lost_segments_are_sent_again_by_whom_they_came_from", |spec| spec) else {
        return;
    };
    if find_program("nft").is_none() {
        println!("without loss: nft is not installed");
    }
    for pod in ["lab/client", "lab/server"] {
        let rules = "add table inet loss\n\
                     add chain inet loss in { type filter hook input priority 0 ; }\n\
                     add chain inet loss out { type filter hook output priority 0 ; }\n\
                     add rule inet loss in meta l4proto tcp numgen random mod 100 < 1 drop\n\
                     add rule inet loss out meta l4proto tcp numgen random mod 100 < 1 drop\n";
        if find_program("nft").is_some() {
            let output = lab.pod(pod).run(&["nft", rules], kit::LIMIT).expect("nft runs");
            assert!(output.ok(), "{}", output.text());
        }
    }
    bodies_and_heads_arrive(&lab);
}
