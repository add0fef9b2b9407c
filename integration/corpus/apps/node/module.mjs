import { readFileSync } from 'node:fs';

export const greeting = await Promise.resolve(JSON.parse(readFileSync(new URL('./package.json', import.meta.url))).name);
