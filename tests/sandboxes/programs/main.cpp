#include <iostream>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

int main(int argc, char **argv) {
    std::vector<std::string> args(argv + 1, argv + argc);
    const std::string mode = args.at(0);
    if (mode == "echo")
        for (std::string line; std::getline(std::cin, line);) std::cout << "got " << line << '\n';
    if (mode == "args")
        for (std::size_t i = 1; i < args.size(); i++) std::cout << args[i] << '\n';
    if (mode == "exit") return 3;
    if (mode == "stderr") std::cerr << "oops\n";
    if (mode == "crash") std::abort();
    if (mode == "unicode") std::cout << "žluťoučký 🐎 漢字\n";
    if (mode == "lines")
        for (int number = 1; number <= 200; number++) std::cout << "line " << number << '\n';
    if (mode == "memory")
        for (std::vector<std::vector<char>> kept;;) kept.emplace_back(16 << 20, 'x');
    if (mode == "loop") {
        std::cout << "before\n";
        for (;;) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    if (mode == "file") std::ofstream("out.txt") << "made here\n";
}
