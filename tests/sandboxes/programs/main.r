args <- commandArgs(trailingOnly = TRUE)
switch(args[1],
  echo = for (line in readLines("stdin")) cat("got ", line, "\n", sep = ""),
  args = cat(args[-1], sep = "\n"),
  exit = quit(status = 3),
  stderr = message("oops"),
  crash = tools::pskill(Sys.getpid(), 9),
  unicode = cat("žluťoučký 🐎 漢字\n"),
  lines = for (number in 1:200) cat("line ", number, "\n", sep = ""),
  memory = {
    kept <- list()
    repeat kept[[length(kept) + 1]] <- rep(1, 2 * 1024^2)
  },
  loop = {
    cat("before\n")
    while (TRUE) Sys.sleep(0.01)
  },
  file = cat("made here\n", file = "out.txt")
)
