from setuptools import Extension, setup

setup(
    name="corpus-app",
    version="1.0",
    packages=["app"],
    package_data={"app": ["zones.json"]},
    ext_modules=[Extension("gauge", ["gauge.c"])],
    entry_points={"console_scripts": ["corpus-app=app.server:main"]},
)
