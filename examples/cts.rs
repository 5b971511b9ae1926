//! Local: all cases in one process.
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (list, out) = (&args[1], &args[2]);
    std::panic::set_hook(Box::new(|_| {}));
    for line in std::fs::read_to_string(list).unwrap().lines() {
        let mut words = line.split_whitespace();
        let (name, xml, now) = (words.next().unwrap(), words.next().unwrap(), words.next());
        let text = std::fs::read_to_string(xml).unwrap();
        let now = now.and_then(|n| n.parse().ok());
        let result = std::panic::catch_unwind(|| {
            let import = hafen::pacemaker::import(&text, now).map_err(|e| e.to_string())?;
            let lossy = import.losses.iter().filter(|l| l.changes_plan).count();
            let outcome = hafen::plan::transition(&import.spec, &import.state);
            let mut json = serde_json::to_value(&outcome).unwrap();
            json["lossy"] = lossy.into();
            if std::env::var_os("SHOW").is_some() {
                println!("{name}\n{:#?}\n{:#?}", import.spec, import.state);
                for l in &import.losses { println!("LOSS {l:?}"); }
            }
            Ok::<_, String>(json)
        });
        let json = match result {
            Ok(Ok(json)) => json,
            Ok(Err(e)) => serde_json::json!({ "error": e }),
            Err(p) => serde_json::json!({ "error": format!("panic {:?}", p.downcast_ref::<String>()) }),
        };
        std::fs::write(format!("{out}/{name}.json"), json.to_string()).unwrap();
    }
}
