import java.nio.file.*;
import java.util.*;

public class Modes {
    record Block(byte[] bytes) {}

    public static void main(String[] args) throws Exception {
        List<String> rest = List.of(args).subList(1, args.length);
        switch (args[0]) {
            case "echo" -> new Scanner(System.in).useDelimiter("\n").forEachRemaining(l -> System.out.println("got " + l));
            case "args" -> System.out.println(String.join("\n", rest));
            case "exit" -> System.exit(3);
            case "stderr" -> System.err.println("oops");
            case "crash" -> new ProcessBuilder("kill", "-KILL", "" + ProcessHandle.current().pid()).start().waitFor();
            case "unicode" -> System.out.println("žluťoučký 🐎 漢字");
            case "lines" -> {
                for (int number = 1; number <= 200; number++) System.out.println("line " + number);
            }
            case "memory" -> {
                List<Block> kept = new ArrayList<>();
                while (true) {
                    byte[] bytes = new byte[16 << 20];
                    Arrays.fill(bytes, (byte) 1);
                    kept.add(new Block(bytes));
                }
            }
            case "loop" -> {
                System.out.println("before");
                while (true) Thread.sleep(10);
            }
            case "file" -> Files.writeString(Path.of("out.txt"), "made here\n");
        }
    }
}
