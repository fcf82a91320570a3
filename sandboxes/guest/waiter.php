<?php
// A PHP that has started ahead of its program (this file is its auto_prepend_file) and waits for an order.
//
// PHP goes on to the main file of its command line, which it has open already, so errors and exit codes are
// its own. The order is read from the fifo .order beside this file, one word a line, percent-encoded, each
// after what it is for: `main` or `arg`. The fifo .word tells the service `ready`.
(static function (): void {
    $order = fopen(__DIR__ . '/.order', 'r');  // before we say a word: then both names are gone
    file_put_contents(__DIR__ . '/.word', "ready\n");
    $arguments = [$_SERVER['argv'][0]];
    while (($line = fgets($order)) !== false) {
        [$kind, $value] = explode(' ', rtrim($line, "\n"));
        if ($kind === 'arg') {
            $arguments[] = rawurldecode($value);
        }
    }
    fclose($order);
    $GLOBALS['argv'] = $_SERVER['argv'] = $arguments;
    $GLOBALS['argc'] = $_SERVER['argc'] = count($arguments);
    $ours = 'ZEND_DONT_UNLOAD_MODULES';  // PHP puts it back in the environment before it reads it
    putenv($ours);
    unset($_SERVER[$ours], $_ENV[$ours]);
    $_SERVER['REQUEST_TIME_FLOAT'] = microtime(true);
    $_SERVER['REQUEST_TIME'] = time();
})();
