<?php
[$mode, $rest] = [$argv[1], array_slice($argv, 2)];
switch ($mode) {
    case 'echo':
        while (($line = fgets(STDIN)) !== false) echo "got $line";
        break;
    case 'args':
        echo implode("\n", $rest), "\n";
        break;
    case 'exit':
        exit(3);
    case 'stderr':
        fwrite(STDERR, "oops\n");
        break;
    case 'crash':
        posix_kill(posix_getpid(), 6);
    case 'unicode':
        echo "žluťoučký 🐎 漢字\n";
        break;
    case 'lines':
        foreach (range(1, 200) as $number) echo "line $number\n";
        break;
    case 'memory':
        $kept = [];
        while (true) $kept[] = str_repeat('x', 16 << 20);
    case 'loop':
        echo "before\n";
        while (true) usleep(10000);
    case 'file':
        file_put_contents('out.txt', "made here\n");
}
