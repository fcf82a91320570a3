module millrace/sandboxes

go 1.21
