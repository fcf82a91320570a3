package millrace.guest;

import java.io.BufferedReader;
import java.io.OutputStream;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.invoke.WrongMethodTypeException;
import java.lang.reflect.Method;
import java.net.URL;
import java.net.URLClassLoader;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import javax.tools.JavaCompiler;
import javax.tools.ToolProvider;

/**
 * A Java that has started ahead of its program, with the compiler loaded, and waits for an order.
 *
 * <p>The order is read from the fifo .order in the folder given as argument, one word a line,
 * percent-encoded, each after what it is for: `build` (javac's command line), `main` (the class) or
 * `arg`. The fifo .word tells the service `ready`, and `built` once javac has gone well. The program's
 * classes are found on the class path of this very machine, in the folder where javac puts them.
 */
public final class Waiter {
    private record Order(List<String> build, List<String> main, List<String> arg) {}

    private static final JavaCompiler JAVAC = ToolProvider.getSystemJavaCompiler();

    public static void main(String[] arguments) throws Throwable {
        Path folder = Path.of(arguments[0]);
        warmUp();
        Order order;
        // both opened before we say a word, for then their names are gone
        try (BufferedReader fifo = Files.newBufferedReader(folder.resolve(".order"));
                OutputStream word = Files.newOutputStream(folder.resolve(".word"))) {
            word.write("ready\n".getBytes());
            order = read(fifo);
            int status = JAVAC.run(null, null, null, compilerOptions(order.build()));
            if (status != 0) System.exit(status);
            word.write("built\n".getBytes());
        }
        System.setProperty("java.class.path", folder.toString());
        run(folder, order.main().get(0), order.arg().toArray(new String[0]));
    }

    private static Order read(BufferedReader fifo) {
        Order order = new Order(new ArrayList<>(), new ArrayList<>(), new ArrayList<>());
        for (String line : fifo.lines().toList()) {
            int space = line.indexOf(' ');
            String word = URLDecoder.decode(line.substring(space + 1), StandardCharsets.UTF_8);
            switch (line.substring(0, space)) {
                case "build" -> order.build().add(word);
                case "main" -> order.main().add(word);
                default -> order.arg().add(word);
            }
        }
        return order;
    }

    /** Without the command itself and what is meant for the machine that it would start. */
    private static String[] compilerOptions(List<String> command) {
        return command.stream().skip(1).filter(word -> !word.startsWith("-J")).toArray(String[]::new);
    }

    private static void run(Path folder, String name, String[] arguments) throws Throwable {
        MethodHandle main;
        try {
            main = mainOf(Class.forName(name, false, ClassLoader.getSystemClassLoader()));
        } catch (ReflectiveOperationException | LinkageError | WrongMethodTypeException unusual) {
            runApart(folder, name, arguments);
            return;
        }
        try {
            main.invokeExact(arguments);
        } catch (Throwable error) {
            forgetOurselves(error);
            throw error; // the machine tells it as that of any other main method
        }
    }

    /** What is no classic main method, or none at all, is for Java's own launcher to run or to explain. */
    private static void runApart(Path folder, String name, String[] arguments) throws Exception {
        String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
        List<String> command = new ArrayList<>(List.of(java, "-cp", folder.toString(), name));
        command.addAll(List.of(arguments));
        System.exit(new ProcessBuilder(command).inheritIO().start().waitFor());
    }

    private static MethodHandle mainOf(Class<?> type) throws ReflectiveOperationException {
        Method method = type.getMethod("main", String[].class);
        method.setAccessible(true); // the class itself need not be public
        MethodHandle main = MethodHandles.lookup().unreflect(method);
        return main.asType(MethodType.methodType(void.class, String[].class));
    }

    private static void forgetOurselves(Throwable error) {
        for (Throwable each = error; each != null; each = each.getCause()) {
            StackTraceElement[] trace = each.getStackTrace();
            each.setStackTrace(
                    Arrays.stream(trace)
                            .filter(element -> !element.getClassName().equals(Waiter.class.getName()))
                            .toArray(StackTraceElement[]::new));
        }
    }

    /** Have loaded what every program needs: the compiler, and what it takes to run a class. */
    private static void warmUp() throws Throwable {
        Path folder = Files.createTempDirectory("warm");
        Path source = folder.resolve("WarmUp.java");
        Files.writeString(source, WARM_UP);
        JAVAC.run(null, null, null, "-proc:none", "-d", folder.toString(), source.toString());
        try (URLClassLoader loader = new URLClassLoader(new URL[] {folder.toUri().toURL()})) {
            MethodHandle main = mainOf(loader.loadClass("WarmUp"));
            main.invokeExact(new String[] {});
        }
        try (var files = Files.list(folder)) {
            for (Path file : files.toList()) Files.delete(file);
        }
        Files.delete(folder);
    }

    private static final String WARM_UP =
            """
            import java.util.*;
            public class WarmUp {
                record Point(int x, int y) {}
                public static void main(String[] args) {
                    List<Point> points = new ArrayList<>();
                    for (int i = 0; i < 3; i++) points.add(new Point(i, i * i));
                    var out = new java.io.PrintStream(java.io.OutputStream.nullOutputStream());
                    points.stream().map(p -> "Point " + p.x()).forEach(out::println);
                }
            }
            """;

    private Waiter() {}
}
