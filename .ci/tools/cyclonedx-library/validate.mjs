// Usage: node validate.mjs VERSION FILE…: says what is wrong with CycloneDX
// documents in JSON, and ends with 1 when something is.
import { readFileSync } from 'node:fs'
import { Spec, Validation } from '@cyclonedx/cyclonedx-library'

const [version, ...files] = process.argv.slice(2)
const validator = new Validation.JsonStrictValidator(Spec.Version[`v${version.replace('.', 'dot')}`])
for (const file of files) {
  const found = await validator.validate(readFileSync(file, 'utf8'))
  if (found !== null) {
    console.error(file, JSON.stringify(found))
    process.exitCode = 1
  }
}
