enum Language {
  TypeScript = "TypeScript",
}

const greeting = (language: Language): string => `Hello from ${language}`;

console.log(greeting(Language.TypeScript));
