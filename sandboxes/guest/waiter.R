# An R that has started ahead of its program (this file is its user profile) and waits for an order.
#
# R goes on to the file of its command line, which it has open already, so errors and exit codes are its own.
# The order is read from a fifo, one word a line, percent-encoded, each after what it is for: `main` or `arg`.
# Another fifo tells the service `ready`.
.First.sys()  # attaches the usual packages; when R comes to it later, they are there
local({
  tell <- function(text) {
    word <- file("/program/.word", "w", raw = TRUE)
    on.exit(close(word))
    cat(text, "\n", sep = "", file = word)
  }
  hear <- function(order) {
    on.exit(close(order))
    lines <- readLines(order)
    words <- utils::URLdecode(sub("^arg ", "", lines[startsWith(lines, "arg ")]))
    Encoding(words) <- "UTF-8"
    words
  }
  # `commandArgs` as it would answer in an R that was started with the words of the order
  answer <- function(words) {
    first <- commandArgs()
    first <- c(first[1], "--no-echo", "--no-restore", "--vanilla", grep("^--file=", first, value = TRUE))
    all <- c(first, if (length(words)) "--args", words)
    body <- bquote(if (trailingOnly) .(words) else .(all))
    eval(call("function", as.pairlist(alist(trailingOnly = FALSE)), body), baseenv())
  }
  order <- file("/program/.order", "r", raw = TRUE)  # before we say a word: then both names are gone
  tell("ready")
  words <- hear(order)
  Sys.setenv(R_PROFILE_USER = "")  # as the script in front of R leaves it with --vanilla
  unlockBinding("commandArgs", baseenv())
  assign("commandArgs", answer(words), envir = baseenv())
  lockBinding("commandArgs", baseenv())
})
