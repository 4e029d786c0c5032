use super::*;

fn show(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float => "float".to_owned(),
        Value::String(text) => format!("{text:?}"),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| show(item)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Map(entries) => {
            let entries: Vec<_> =
                entries.iter().map(|(key, value)| format!("{}:{}", key.text, show(value))).collect();
            format!("{{{}}}", entries.join(","))
        }
    }
}

fn read(text: &str) -> String {
    match parse(text, 1) {
        Ok(Some(node)) => show(&node),
        Ok(None) => "nothing".to_owned(),
        Err(error) => format!("{}:{}: {}", error.line, error.column, error.message),
    }
}

#[test]
fn scalars_are_resolved_as_kubectl_does() {
    let table = [
        ("a: yes", "{a:true}"),
        ("a: 'yes'", "{a:\"yes\"}"),
        ("a: 010", "{a:8}"),
        ("a: 0x10", "{a:16}"),
        ("a: -1", "{a:-1}"),
        ("a: 080", "{a:float}"),
        ("a: 1.5", "{a:float}"),
        ("a: 1.2.3.4", "{a:\"1.2.3.4\"}"),
        ("a: 10.0.0.0/8", "{a:\"10.0.0.0/8\"}"),
        ("a: 2001:db8::1", "{a:\"2001:db8::1\"}"),
        ("a:", "{a:null}"),
        ("a: ~", "{a:null}"),
        ("a: !!str 80", "{a:\"80\"}"),
        ("{\"a\": [1, true, null, \"x\"]}", "{a:[1,true,null,\"x\"]}"),
        ("# only a comment", "nothing"),
    ];
    for (text, expected) in table {
        assert_eq!(read(text), expected, "{text}");
    }
}

#[test]
fn places_are_those_of_the_file() {
    let node = parse("a:\n  - b: 1\n    c: x\n", 10).expect("valid").expect("not empty");
    let item = match &node.get("a").expect("a").value {
        Value::List(items) => Rc::clone(&items[0]),
        other => panic!("{other:?}"),
    };
    assert_eq!((item.line, item.column), (11, 5));
    let c = item.get("c").expect("c");
    assert_eq!((c.line, c.column), (12, 8));
}

#[test]
fn duplicates_merge_keys_and_odd_keys_are_refused() {
    assert_eq!(read("a: 1\nb:\n  c: 1\n  c: 2\n"), "4:3: duplicate key `c`: it is written above already");
    assert!(read("p: &x {a: 1}\nq:\n  <<: *x\n").contains("merge keys"));
    assert!(read("1: a").contains("a key must be a string, this is a number"));
    assert!(read("a: [1, 2").contains("not valid YAML"));
    assert!(read("a: !custom x").contains("tag"));
}

#[test]
fn bombs_are_refused() {
    let mut laughs = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for i in 1..12 {
        let refs = vec![format!("*a{}", i - 1); 10].join(",");
        laughs.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
    }
    assert!(read(&laughs).contains("aliases expand"), "{}", read(&laughs));
    assert!(
        read(&"[".repeat(100_000)).contains("nested deeper")
            || read(&"[".repeat(100_000)).contains("recursion")
    );
    let deep: String = (0..200).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    assert!(read(&deep).contains("nested deeper"));
    assert!(read("a: &x [*x]").contains("alias"));
}

#[test]
fn aliases_mean_what_they_stand_for() {
    assert_eq!(read("a: &x {k: 1}\nb: *x\n"), "{a:{k:1},b:{k:1}}");
}

#[test]
fn documents_are_cut_at_markers() {
    let text = "# head\n---\na: 1\n---\n# nothing\n---\nb: |\n  --- not a marker\n...\n--- {c: 1}\n";
    let parts = split(text);
    let read: Vec<_> = parts.iter().map(|(line, text)| (*line, read(text))).collect();
    assert_eq!(
        read,
        [(2, "{a:1}".to_owned()), (6, "{b:\"--- not a marker\\n\"}".to_owned()), (10, "{c:1}".to_owned())]
    );
}
