use super::*;

/// The normal path, or what is wrong.
fn normal(path: &str) -> Result<String, Anomaly> {
    let target = split(b"GET", path.as_bytes())?;
    let mut out = target.path.to_vec();
    if target.odd {
        normalise(target.path, &mut out)?;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

#[test]
fn plain_paths_are_their_own_normal_form() {
    for path in [
        "/",
        "/a",
        "/a/",
        "/a/b.c",
        "/a;v=1/b",
        "/~x/@y:z,(q)!$&'*+=",
        "/?q",
        "/a?b=../..//%2f%zz\\",
        "/a/.b",
        "/..a",
        "/a..",
        "/...",
    ] {
        assert_eq!(normal(path).as_deref(), Ok(path));
    }
}

#[test]
fn dot_segments_slashes_and_unreserved_escapes_are_resolved() {
    for (path, expected) in [
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/..", "/"),
        ("/a/.", "/a/"),
        ("/a/b/..", "/a/"),
        ("/..", "/"),
        ("/../../a", "/a"),
        ("/a/b/../../../c/", "/c/"),
        ("/a//b", "/a/b"),
        ("/a///b//", "/a/b/"),
        ("/a/.//b", "/a/b"),
        ("/%61/%2e%2E/%7e", "/~"),
        ("/a/%2e%2e/b?x=%2e%2e", "/b?x=%2e%2e"),
        ("/%C3%a9", "/%C3%a9"),
        ("/a%20b", "/a%20b"),
        ("/a%3fb", "/a%3fb"),
        ("/a%2fb", "/a/b"),
        ("/a%2f", "/a/"),
        ("/@scope%2Fname", "/@scope/name"),
        ("/100%25", "/100%25"),
        ("/%2541", "/%2541"),
    ] {
        assert_eq!(normal(path).as_deref(), Ok(expected), "{path}");
    }
}

#[test]
fn what_has_a_third_reading_is_refused() {
    for path in [
        "/a/..%2fb",
        "/%2e%2e%2fa",
        "/a%2f..%2fb",
        "/a%2f%2fb",
        "/%2fb",
        "/a//b%2fc",
        "/a/./b%2fc",
        "/%61%2fc",
        "/a%2f.",
        "/a\\b",
        "/a%5cb",
        "/a%5Cb",
        "/a%00",
        "/a%c0%af",
        "/%C1%9c",
        "/%252e%252e/",
        "/%252fa",
        "/%2500",
        "/%255c",
        "/%25252e",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%+1",
        "/..;/b",
        "/a/..;x=y/b",
        "/.;/",
        "/a/%2e%2e;/b",
        "/a/..%3b/b",
        "//host/a",
        "//",
        "/a//../b",
        "/a//%2e%2e/b",
        "/a#b",
        "/a?b#c",
        "/a\u{e9}",
        "/a?\u{e9}",
        "/a\u{7f}",
        "a",
        "*",
        "",
        "http:/a",
        "https://a/",
        "ftp://a/",
        "http://a?b",
        "http://a#b",
        "//a\\b",
        "/a%2f;b%2f..;/c",
        "/a%2f..;/c",
    ] {
        assert_eq!(normal(path), Err(Anomaly::HttpTarget), "{path}");
    }
}

#[test]
fn forms_of_targets() {
    let target = |path, authority| Ok(Target { path, authority, odd: false });
    assert_eq!(split(b"OPTIONS", b"*"), target(b"*", None));
    assert_eq!(split(b"GET", b"http://a.b:80/c?d"), target(b"/c?d", Some(b"a.b:80")));
    assert_eq!(split(b"GET", b"HTTP://a"), target(b"/", Some(b"a")));
    assert_eq!(split(b"GET", b"http:///a"), Err(Anomaly::HttpHost));
    assert!(split(b"GET", b"http://a/b/../c").is_ok_and(|target| target.odd));
}

#[test]
fn authorities() {
    for yes in [
        "a",
        "a.b",
        "a.b.",
        "a_b",
        "a-b:80",
        "10.0.0.1:65535",
        "[::1]",
        "[fd00::1]:8080",
        "[::ffff:1.2.3.4]",
        "A:0",
    ] {
        assert!(is_authority(yes.as_bytes()), "{yes}");
    }
    for no in [
        "", ":80", "a:", "a:65536", "a:123456", "a:8x", "a:+8", "a b", "u@a", "u:p@a", "a/b", "a,b", "a?b",
        "a#b", "a%41", "[::1", "[]", "[g::]", "[::1]x", "[::1]:", "::1", "a:1:2", "a\\b", "\u{e9}", "a;b",
        "*",
    ] {
        assert!(!is_authority(no.as_bytes()), "{no}");
    }
    assert!(!is_authority(&[b'a'; 256]));
}
