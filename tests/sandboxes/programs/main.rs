use std::io::{self, BufRead};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args[0].as_str() {
        "echo" => {
            for line in io::stdin().lock().lines() {
                println!("got {}", line.unwrap());
            }
        }
        "args" => println!("{}", args[1..].join("\n")),
        "exit" => std::process::exit(3),
        "stderr" => eprintln!("oops"),
        "crash" => std::process::abort(),
        "unicode" => println!("žluťoučký 🐎 漢字"),
        "lines" => {
            for number in 1..=200 {
                println!("line {}", number);
            }
        }
        "memory" => {
            let mut kept = Vec::new();
            loop {
                kept.push(vec![kept.len() as u8 | 1; 16 << 20]);
            }
        }
        "loop" => {
            println!("before");
            loop {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
        "file" => std::fs::write("out.txt", "made here\n").unwrap(),
        _ => unreachable!(),
    }
}
